package components

import (
	"context"
	"fmt"
	"reflect"
	"time"

	appsv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/apps/v1"
	batchv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/batch/v1"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	networkingv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/networking/v1"
	policyv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/policy/v1"
	rbacv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/rbac/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"

	"stateful-postgres/components/internal/budget"
	"stateful-postgres/components/internal/effect"
	"stateful-postgres/components/internal/giveway"
	"stateful-postgres/components/internal/handover"
	"stateful-postgres/components/internal/objects"
	"stateful-postgres/components/internal/observe"
	"stateful-postgres/components/internal/waiter"
	"stateful-postgres/internal/contract"
)

// made are the objects that outputs are read from.
type made struct {
	configMap   *corev1.ConfigMap
	credentials *corev1.Secret
	certificate *corev1.Secret
	service     *corev1.Service
	headless    *corev1.Service
	replicas    *corev1.Service
	claim       *corev1.PersistentVolumeClaim
	statefulSet *appsv1.StatefulSet
	marker      *corev1.ConfigMap
	// password is the one in effect.
	password pulumi.StringOutput
}

// declare registers the objects, each after those that it needs. This is the one
// place that decides about their order.
func declare(ctx *pulumi.Context, name string, parent *Postgres, d objects.Description, way observe.Way) (made, error) {
	provider, err := newProvider(ctx, name, way, pulumi.Parent(parent))
	if err != nil {
		return made{}, fmt.Errorf("kubernetes provider: %w", err)
	}
	if d.Observed.Rendering && d.Settings.TLS && d.Settings.TLSSecret == "" {
		if err := ctx.Log.Warn("the certificate in these manifests is made once and not renewed; "+
			"it ends after a year. tlsSecret leaves it to whoever makes that Secret", nil); err != nil {
			return made{}, err
		}
	}
	data, err := dataOptions(ctx, name, d.Settings.DeleteData)
	if err != nil {
		return made{}, err
	}
	l := &list{ctx: ctx, name: name, options: pulumi.Composite(pulumi.Parent(parent), pulumi.Provider(provider)), data: data}
	var m made

	namespace := add(l, corev1.NewNamespace, objects.Namespace(d))
	account := add(l, corev1.NewServiceAccount, objects.ServiceAccount(d), namespace)
	// The check starts a server with the certificate.
	m.certificate = add(l, corev1.NewSecret, objects.Certificate(d), namespace)

	// Everything else comes after the check: what it refuses reaches no server. A
	// stop waits for no check, which may find no room beside the server.
	checked := []pulumi.Resource{namespace, account}
	stopping := *d.Settings.Replicas == 0
	if !stopping {
		checked = append(checked, add(l, batchv1.NewJob, objects.Check(d), account, m.certificate))
	}
	m.configMap = add(l, corev1.NewConfigMap, objects.ConfigMap(d), checked...)
	m.credentials = add(l, corev1.NewSecret, objects.Credentials(d), checked...)
	m.headless = add(l, corev1.NewService, objects.HeadlessService(d), checked...)
	m.service = add(l, corev1.NewService, objects.Service(d), checked...)
	claim := objects.Claim(d, 0)
	switch {
	case !objects.ReplacesClaim(d):
	case d.Preview:
		if err := ctx.Log.Info(claim.Title+" never had a volume, and the settings ask for another one: the update replaces it",
			&pulumi.LogArgs{Resource: parent}); err != nil {
			return m, err
		}
	default:
		hook, err := replaceClaim(ctx, name, d, way)
		if err != nil {
			return m, err
		}
		claim.Options = append(claim.Options, hook)
	}
	m.claim = add(l, corev1.NewPersistentVolumeClaim, claim, checked...)
	add(l, networkingv1.NewNetworkPolicy, objects.NetworkPolicy(d), checked...)
	if l.err != nil {
		return m, l.err
	}

	needed := []pulumi.Resource{namespace, account, m.configMap, m.credentials, m.certificate, m.headless, m.claim}
	for ordinal := 1; ordinal < *d.Settings.Replicas; ordinal++ {
		needed = append(needed, add(l, corev1.NewPersistentVolumeClaim, objects.Claim(d, ordinal), checked...))
	}
	m.replicas = add(l, corev1.NewService, objects.ReplicasService(d), checked...)
	role := add(l, rbacv1.NewRole, objects.Role(d), checked...)
	needed = append(needed,
		add(l, rbacv1.NewRoleBinding, objects.RoleBinding(d), append(checked, role)...),
		add(l, corev1.NewSecret, objects.MembersSecret(d), checked...),
		add(l, corev1.NewConfigMap, objects.MembersLeader(d), checked...),
		add(l, corev1.NewConfigMap, objects.MembersSync(d), checked...),
		add(l, corev1.NewConfigMap, objects.MembersFailover(d), checked...))
	// While a second server copies the files of the only one, writes go on as
	// before: they wait for it only from then on.
	grows := d.Observed.HighAvailability() && d.Observed.Replicas() == 1 && *d.Settings.Replicas > 1
	var behaviour *corev1.ConfigMap
	if !grows {
		behaviour = add(l, corev1.NewConfigMap, objects.MembersConfig(d), checked...)
		needed = append(needed, behaviour)
	}
	if d.DataExpected() {
		m.marker = add(l, corev1.NewConfigMap, objects.Marker(d), checked...)
		needed = append(needed, m.marker)
	}
	// Not after the clients' Service: a load balancer's address may take minutes.
	set := objects.StatefulSet(d, m.credentials, m.certificate)
	if hook, err := handOver(ctx, name, parent, d, way); err != nil {
		return m, err
	} else if hook != nil {
		set.Options = append(set.Options, hook)
	}
	m.statefulSet = add(l, appsv1.NewStatefulSet, set, needed...)
	if grows {
		behaviour = add(l, corev1.NewConfigMap, objects.MembersConfig(d), m.statefulSet)
	}
	add(l, policyv1.NewPodDisruptionBudget, objects.DisruptionBudget(d), m.statefulSet)
	if l.err == nil {
		l.err = reportWaiting(ctx, parent, d, m, way)
	}
	if l.err == nil {
		m.password, l.err = inEffect(ctx, parent, d, m, behaviour, way)
	}
	if !d.DataExpected() {
		m.marker = add(l, corev1.NewConfigMap, objects.Marker(d), m.statefulSet)
	}
	if stopping {
		add(l, batchv1.NewJob, objects.Check(d), account, m.certificate, m.statefulSet)
	}
	return m, l.err
}

// list declares objects until one cannot be declared.
type list struct {
	ctx  *pulumi.Context
	name string
	// options are those of every object.
	options pulumi.ResourceOption
	// data are those of every object that belongs to the data.
	data pulumi.ResourceOption
	err  error
}

// dataOptions keep the data on a destroy, or let it be deleted.
//
// The engine destroys by what the last update left in the state, whatever the
// settings say by then. A resource with a delete hook it does not destroy unless
// it runs the program, and then the settings of that moment count. So data that
// the state gives up carries a hook, and plain `pulumi destroy` is refused.
func dataOptions(ctx *pulumi.Context, name string, deleted bool) (pulumi.ResourceOption, error) {
	if ctx.RunningWithMocks() {
		// The SDK's mocks know no hooks.
		return pulumi.RetainOnDelete(!deleted), nil
	}
	// Registered in any case: the state may hold the hook of an earlier update. Its
	// name is all that the engine's refusal shows.
	hook, err := ctx.RegisterResourceHook(fmt.Sprintf("deleteData of %s (pulumi destroy --run-program deletes the data, or keeps it if deleteData is false now)", name),
		func(*pulumi.ResourceHookArgs) error { return nil }, nil)
	if err != nil {
		return nil, fmt.Errorf("delete hook: %w", err)
	}
	if !deleted {
		return pulumi.RetainOnDelete(true), nil
	}
	return pulumi.Composite(pulumi.RetainOnDelete(false),
		pulumi.ResourceHooks(&pulumi.ResourceHookBinding{BeforeDelete: []*pulumi.ResourceHook{hook}})), nil
}

// add declares one object after others. Those that are not declared, like a
// certificate without TLS, are nil.
func add[Resource pulumi.Resource, Args any](
	l *list,
	declare func(*pulumi.Context, string, *Args, ...pulumi.ResourceOption) (Resource, error),
	object objects.Object[Args],
	after ...pulumi.Resource,
) (declared Resource) {
	if l.err != nil || object.Args == nil {
		return declared
	}
	var needed []pulumi.Resource
	for _, resource := range after {
		if !reflect.ValueOf(resource).IsNil() {
			needed = append(needed, resource)
		}
	}
	options := append([]pulumi.ResourceOption{l.options, pulumi.DependsOn(needed)}, object.Options...)
	if object.Data {
		options = append(options, l.data)
	}
	declared, err := declare(l.ctx, l.name+object.Suffix, object.Args, options...)
	if err != nil {
		l.err = fmt.Errorf("%s: %w", object.Title, err)
	}
	return declared
}

// replaceClaim puts the claim in the place of one that never had a volume, right
// before the provider makes it, which then takes it over. The engine itself keeps
// the other one, as it keeps every claim; and the provider would come too late: the
// StatefulSet makes a claim as soon as there is none.
func replaceClaim(ctx *pulumi.Context, name string, d objects.Description, way observe.Way) (pulumi.ResourceOption, error) {
	hook, err := clusterHook(ctx, way, "replace the claim of "+name, func(core corev1client.CoreV1Interface) error {
		return giveway.Claim(ctx.Context(), core.PersistentVolumeClaims(d.Settings.Namespace), objects.WantedClaim(d))
	})
	if err != nil {
		return nil, fmt.Errorf("create hook: %w", err)
	}
	return pulumi.ResourceHooks(&pulumi.ResourceHookBinding{BeforeCreate: []*pulumi.ResourceHook{hook}}), nil
}

// coreClient is a client of the cluster itself.
func coreClient(way observe.Way) (corev1client.CoreV1Interface, error) {
	config, err := way.RESTConfig()
	if err != nil {
		return nil, err
	}
	return corev1client.NewForConfig(config)
}

// clusterHook is a hook that works on the cluster itself.
func clusterHook(ctx *pulumi.Context, way observe.Way, name string, do func(corev1client.CoreV1Interface) error) (*pulumi.ResourceHook, error) {
	core, err := coreClient(way)
	if err != nil {
		return nil, err
	}
	return ctx.RegisterResourceHook(name, func(*pulumi.ResourceHookArgs) error { return do(core) }, nil)
}

// handOver lets the first server take the writes before an update restarts the
// servers, which it does from the last to the first, or stops some of them.
func handOver(ctx *pulumi.Context, name string, parent *Postgres, d objects.Description, way observe.Way) (pulumi.ResourceOption, error) {
	running := d.Observed.Replicas()
	if ctx.DryRun() || !d.Observed.HighAvailability() || running < 2 || *d.Settings.Replicas > running {
		return nil, nil
	}
	hook, err := clusterHook(ctx, way, "hand the writes of "+name+" over", func(core corev1client.CoreV1Interface) error {
		err := handover.ToFirst(ctx.Context(), core.ConfigMaps(d.Settings.Namespace), running)
		if err != nil && *d.Settings.Replicas == 0 {
			// All stop, and nothing is lost: the next start asks for those that have
			// every write.
			return ctx.Log.Warn(err.Error()+"; all are stopped now, and who has every write is in config map "+contract.MembersSync,
				&pulumi.LogArgs{Resource: parent})
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("update hook: %w", err)
	}
	return pulumi.ResourceHooks(&pulumi.ResourceHookBinding{BeforeUpdate: []*pulumi.ResourceHook{hook}}), nil
}

// inEffect is the password once the servers have it, and the parameters that all
// members have alike.
func inEffect(ctx *pulumi.Context, p *Postgres, d objects.Description, m made, behaviour *corev1.ConfigMap, way observe.Way) (pulumi.StringOutput, error) {
	password := objects.Password(m.credentials)
	if ctx.DryRun() || d.Observed.NoCluster || !d.Settings.HighAvailability || *d.Settings.Replicas == 0 {
		return password, nil
	}
	core, err := coreClient(way)
	if err != nil {
		return password, err
	}
	return pulumi.All(password, objects.PasswordDigest(m.credentials), m.statefulSet.ID(), behaviour.ID()).ApplyT(func(all []any) (string, error) {
		return all[0].(string), effect.Wait(ctx.Context(), core.Pods(d.Settings.Namespace), effect.Wanted{
			Members: *d.Settings.Replicas, Password: all[1].(string), Parameters: objects.AgreedParameters(d.Settings),
		}, func(text string) { _ = ctx.Log.Warn(text, &pulumi.LogArgs{Resource: p}) })
	}).(pulumi.StringOutput), nil
}

// reportWaiting says while the update runs why what it waits for does not come.
func reportWaiting(ctx *pulumi.Context, p *Postgres, d objects.Description, m made, way observe.Way) error {
	if ctx.DryRun() || d.Observed.NoCluster {
		return nil
	}
	config, err := way.RESTConfig()
	if err != nil {
		return err
	}
	clients, err := waiter.Connect(config)
	if err != nil {
		return err
	}
	// An update that has ended has ended this program, or waits no longer.
	until, cancel := context.WithTimeout(ctx.Context(), budget.Check+budget.Budget{Shutdown: d.Settings.ShutdownTimeout}.Update())
	pulumi.All(m.statefulSet.ID(), m.service.ID()).ApplyT(func([]any) int { cancel(); return 0 })
	go func() {
		defer cancel()
		waiter.Run(until, func(ctx context.Context, now time.Time) ([]waiter.Reason, error) {
			seen, err := waiter.Look(ctx, clients, d.Settings.Namespace)
			return waiter.Reasons(seen, *d.Settings.Replicas, now, d.Settings.Reader()), err
		}, func(text string) {
			_ = ctx.Log.Warn(text, &pulumi.LogArgs{Resource: p})
		})
	}()
	return nil
}
