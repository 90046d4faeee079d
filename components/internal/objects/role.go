package objects

import (
	metav1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/meta/v1"
	rbacv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/rbac/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"stateful-postgres/internal/contract"
)

// Role is what the members may do: read what they agree on and who they are, and
// write to the ConfigMaps that are there for it, and to the labels of pods. They
// make nothing and delete nothing.
func Role(d Description) Object[rbacv1.RoleArgs] {
	object := Object[rbacv1.RoleArgs]{Title: "role " + contract.MembersRole, Suffix: "-ha"}
	if !d.Settings.HighAvailability {
		return object
	}
	rule := func(group, resource string, names []string, verbs ...string) rbacv1.PolicyRuleArgs {
		rule := rbacv1.PolicyRuleArgs{
			ApiGroups: pulumi.ToStringArray([]string{group}), Resources: pulumi.ToStringArray([]string{resource}), Verbs: pulumi.ToStringArray(verbs),
		}
		if len(names) > 0 {
			rule.ResourceNames = pulumi.ToStringArray(names)
		}
		return rule
	}
	object.Args = &rbacv1.RoleArgs{
		Metadata: d.metadata(contract.MembersRole, nil),
		Rules: rbacv1.PolicyRuleArray{
			// Names do not count for list and watch.
			rule("", "configmaps", nil, "list", "watch"),
			rule("", "configmaps", []string{contract.MembersConfig, contract.MembersLeader, contract.MembersSync, contract.MembersFailover}, "get", "patch", "update"),
			rule("", "pods", nil, "get", "list", "watch", "patch"),
			// A member that is taken away for good looks at how many stay.
			rule("apps", "statefulsets", []string{contract.StatefulSet}, "get"),
		},
	}
	return object
}

// RoleBinding gives the role to the servers' pods.
func RoleBinding(d Description) Object[rbacv1.RoleBindingArgs] {
	object := Object[rbacv1.RoleBindingArgs]{Title: "role binding " + contract.MembersRole, Suffix: "-ha"}
	if !d.Settings.HighAvailability {
		return object
	}
	object.Args = &rbacv1.RoleBindingArgs{
		Metadata: metav1.ObjectMetaArgs(d.metadata(contract.MembersRole, nil)),
		RoleRef: rbacv1.RoleRefArgs{
			ApiGroup: pulumi.String("rbac.authorization.k8s.io"), Kind: pulumi.String("Role"), Name: pulumi.String(contract.MembersRole),
		},
		Subjects: rbacv1.SubjectArray{rbacv1.SubjectArgs{
			Kind: pulumi.String("ServiceAccount"), Name: pulumi.String(contract.ServiceAccount), Namespace: pulumi.String(d.Settings.Namespace),
		}},
	}
	return object
}
