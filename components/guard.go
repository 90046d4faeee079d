package components

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/urn"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Annotations of the claim that say what the first start put on the volume.
const (
	annotationDatabase = "stateful-postgres/database"
	annotationUser     = "stateful-postgres/user"
)

// checkExisting looks at what earlier updates left behind, and returns the
// settings that do not fit it as InvalidSettings.
func (p *Postgres) checkExisting(ctx *pulumi.Context, name string) error {
	from, err := lastNamespaces(ctx, name)
	if err != nil {
		return err
	}
	if move := checkMove(from, p.args.Namespace); move != nil {
		return InvalidSettings{*move}
	}
	if p.existing, err = lookUpStack(ctx, p.args); err != nil {
		return err
	}
	if warning := p.args.unseenVolume(p.existing); warning != "" {
		if err := ctx.Log.Warn(warning, nil); err != nil {
			return err
		}
	}
	if other := checkOtherSetUp(p.existing, p.args.Namespace); other != nil {
		return InvalidSettings{*other}
	}
	if owned := checkOwner(p.existing, p.args.Namespace, p.fieldManager); owned != nil {
		return InvalidSettings{*owned}
	}
	conflicts := p.args.conflicts(p.existing)
	if wrong := p.args.checkLiveTLSSecret(p.existing, p.now); wrong != nil {
		conflicts = append(conflicts, *wrong)
	}
	return conflicts.orNil()
}

// conflicts are the settings that do not fit the data that is there: each would
// replace the claim, or leave the server with a volume that is not what the
// settings say. They are found before anything is declared, so that an update
// that is refused has changed nothing.
func (a PostgresArgs) conflicts(live existing) InvalidSettings {
	var conflicts InvalidSettings
	if lost := a.checkLost(live); lost != nil {
		conflicts = append(conflicts, *lost)
	}
	conflicts = append(conflicts, a.checkVolume(live)...)
	if live.claim == nil {
		return conflicts
	}
	for _, check := range []func(existing) *InvalidSetting{
		a.checkLiveAccessModes, a.checkLiveStorage, a.checkLiveStorageClass, a.checkLiveDatabase, a.checkLiveUser,
	} {
		if conflict := check(live); conflict != nil {
			conflicts = append(conflicts, *conflict)
		}
	}
	slices.SortStableFunc(conflicts, func(a, b InvalidSetting) int { return strings.Compare(a.Setting, b.Setting) })
	return conflicts
}

// takeoverSection is the part of README.md that shows how to keep the rows of
// another set-up.
const takeoverSection = `README.md shows under "Taking over the lab's own YAML"`

// checkOtherSetUp refuses a namespace in which another set-up uses the component's
// names: an update would have to replace its StatefulSet, and would leave a
// mixture of both.
func checkOtherSetUp(live existing, namespace string) *InvalidSetting {
	if len(live.otherSetUp) == 0 {
		return nil
	}
	return invalid("namespace", namespace, "one without the objects of another set-up, as this one has: "+strings.Join(live.otherSetUp, ", "),
		"keep its rows as "+takeoverSection+", or choose another with: pulumi config set namespace")
}

const newStack = "; for other data use another stack with a namespace of its own"

// checkOwner refuses a namespace whose claim holds the data of another stack:
// two stacks with one database would undo each other's settings. A stack that
// was renamed, or one that takes over the data of another for good, is let in
// once the claim no longer says whose it is.
func checkOwner(live existing, namespace, manager string) *InvalidSetting {
	if live.claim == nil {
		return nil
	}
	owner := live.claim.Annotations[annotationFieldManager]
	if owner == "" || owner == manager {
		return nil
	}
	return invalid("namespace", namespace, fmt.Sprintf("one that does not hold the data of another stack or component, as this one does (%s)", owner),
		fmt.Sprintf("choose another with: pulumi config set namespace, or take the data over with: kubectl annotate -n %s pvc %s %s-",
			namespace, claimName(0), annotationFieldManager))
}

// checkLost refuses to make a new volume where one with data was. A volume that
// is there and empty only the server itself can see.
func (a PostgresArgs) checkLost(live existing) *InvalidSetting {
	if !live.marker || a.InitializeEmptyVolume || a.VolumeName != "" || live.claim != nil && !isNew(live.claim) {
		return nil
	}
	return invalid("initializeEmptyVolume", "false",
		fmt.Sprintf("true, because this server had data and the volume of claim %s is gone", claimName(0)),
		"name a volume that has it with: pulumi config set volumeName, or begin again without the old rows: pulumi config set initializeEmptyVolume true")
}

// isNew says whether a claim will be given a new, empty volume: it has none yet,
// and asks for none that exists.
func isNew(claim *corev1.PersistentVolumeClaim) bool {
	return claim.Status.Phase != corev1.ClaimBound && claim.Spec.VolumeName == "" &&
		claim.Spec.DataSource == nil && claim.Spec.DataSourceRef == nil
}

func (a PostgresArgs) checkLiveAccessModes(live existing) *InvalidSetting {
	var modes []string
	for _, mode := range live.claim.Spec.AccessModes {
		modes = append(modes, string(mode))
	}
	if slices.Equal(slices.Sorted(slices.Values(modes)), slices.Sorted(slices.Values(a.AccessModes))) {
		return nil
	}
	had := strings.Join(modes, ",")
	return invalid("accessModes", strings.Join(a.AccessModes, ","),
		fmt.Sprintf("%s, because the access modes of the volume that holds the data cannot change", had),
		set("accessModes", had)+newStack)
}

func (a PostgresArgs) checkLiveStorageClass(live existing) *InvalidSetting {
	if a.StorageClass == "" || live.claim.Spec.StorageClassName == nil || *live.claim.Spec.StorageClassName == a.StorageClass {
		return nil
	}
	had := *live.claim.Spec.StorageClassName
	return invalid("storageClass", a.StorageClass,
		fmt.Sprintf("%s, because the storage class of the volume that holds the data cannot change", had),
		set("storageClass", had)+newStack)
}

func (a PostgresArgs) checkLiveStorage(live existing) *InvalidSetting {
	wanted := resource.MustParse(a.Storage)
	had := live.claim.Spec.Resources.Requests[corev1.ResourceStorage]
	switch {
	case wanted.Cmp(had) < 0:
		return invalid("storage", a.Storage, fmt.Sprintf("at least %s, because a volume cannot shrink", had.String()),
			set("storage", had.String()))
	case wanted.Cmp(had) == 0:
		return nil
	case live.claim.Status.Phase != corev1.ClaimBound:
		return invalid("storage", a.Storage, fmt.Sprintf("%s, because the volume can grow only once it is bound", had.String()),
			set("storage", had.String())+", start the server, and then let it grow")
	case !live.expandable:
		reason := "it has no storage class that lets it grow"
		if class := live.claim.Spec.StorageClassName; class != nil && *class != "" {
			reason = fmt.Sprintf("storage class %s does not let a volume grow", *class)
		}
		return invalid("storage", a.Storage, fmt.Sprintf("%s, because %s", had.String(), reason),
			set("storage", had.String())+", or set allowVolumeExpansion on the class if its volumes support it")
	}
	return nil
}

func (a PostgresArgs) checkLiveDatabase(live existing) *InvalidSetting {
	return a.checkInitialized(live, annotationDatabase, "database", a.Database)
}

func (a PostgresArgs) checkLiveUser(live existing) *InvalidSetting {
	return a.checkInitialized(live, annotationUser, "user", a.User)
}

// checkInitialized refuses another name than the one that the volume was
// initialized with. A claim that was never bound was never initialized either,
// and of a volume that was taken over only a server that was ready on it shows
// that the names were the right ones.
func (a PostgresArgs) checkInitialized(live existing, annotation, setting, value string) *InvalidSetting {
	had := live.claim.Annotations[annotation]
	if had == "" || had == value || live.claim.Status.Phase != corev1.ClaimBound || a.VolumeName != "" && !live.marker {
		return nil
	}
	return invalid(setting, value, fmt.Sprintf("%s, because the volume was initialized with it", had), set(setting, had)+newStack)
}

// checkMove refuses another namespace than the one in which the stack's
// last update left its data.
func checkMove(from []string, to string) *InvalidSetting {
	if len(from) == 0 || slices.Contains(from, to) {
		return nil
	}
	return invalid("namespace", to, fmt.Sprintf("%s, because the data is there and cannot move to another namespace", from[0]),
		set("namespace", from[0])+newStack)
}

// lastNamespaces are the namespaces in which the stack's last update left the
// data of components of this name: one, or none. Only components with different
// parents can have the same name.
func lastNamespaces(ctx *pulumi.Context, name string) ([]string, error) {
	if ctx.RunningWithMocks() {
		return nil, nil
	}
	var last struct {
		Resources map[string]any `pulumi:"outputs"`
	}
	var err error
	// A component in a program of another language may not be told the
	// organization; then the name alone leads to the stack, in the user's default
	// organization.
	full := strings.Join([]string{ctx.Organization(), ctx.Project(), ctx.Stack()}, "/")
	for _, stack := range []string{full, ctx.Stack()} {
		// What the component itself registered, not what the program exports: that is
		// the program's own choice. The plain Invoke refuses results that hold a secret.
		if _, err = ctx.InvokePackageRaw("pulumi:pulumi:readStackResourceOutputs", &struct {
			StackName string `pulumi:"stackName"`
		}{stack}, &last, ""); err == nil {
			break
		}
	}
	if err != nil {
		return nil, ctx.Log.Warn(fmt.Sprintf(
			"the state that the last update of %s left could not be read, so a changed namespace goes unnoticed: %v", full, err), nil)
	}
	return namespacesOf(last.Resources, name), nil
}

// namespacesOf are the namespaces of components of a name, from the states of
// resources by URN.
func namespacesOf(resources map[string]any, name string) []string {
	var namespaces []string
	for key, value := range resources {
		component, err := urn.Parse(key)
		if err != nil || component.Name() != name || string(component.Type()) != componentType {
			continue
		}
		state, _ := value.(map[string]any)
		registered, _ := state["outputs"].(map[string]any)
		if namespace, _ := registered["namespace"].(string); namespace != "" {
			namespaces = append(namespaces, namespace)
		}
	}
	return slices.Sorted(slices.Values(namespaces))
}
