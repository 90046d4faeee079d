package components

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
)

const (
	// maxIdentifierLength is PostgreSQL's NAMEDATALEN - 1, in bytes. A longer
	// name is cut off without an error.
	maxIdentifierLength = 63

	// minStorage holds an empty data directory and its first log segments.
	minStorage = "128Mi"

	// maxPasswordLength is where clients begin to differ in what they accept.
	maxPasswordLength = 1024

	// The range of node ports that the API server hands out by default.
	minNodePort = 30000
	maxNodePort = 32767
)

var (
	// identifier is what needs no quotes in a shell, a URL or a command line.
	identifier = regexp.MustCompile(`^[a-z_][a-z0-9_-]*$`)

	// imageReference is an image name with an optional registry, and a tag, a
	// digest or both, after the grammar of the OCI distribution specification.
	imageReference = regexp.MustCompile(`^` +
		`([a-zA-Z0-9]([a-zA-Z0-9.-]*[a-zA-Z0-9])?(:[0-9]+)?/)?` +
		`[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*` +
		`(:[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127})?` +
		`(@sha256:[a-f0-9]{64})?$`)

	// Names that have a meaning of their own in pg_hba.conf or in the server.
	reservedDatabases = []string{"all", "replication", "sameuser", "samerole", "samegroup", "template0", "template1"}
	reservedRoles     = []string{"all", "none", "public"}

	accessModes = []string{
		AccessModeReadWriteOnce, AccessModeReadWriteOncePod, AccessModeReadWriteMany,
	}
	serviceTypes = []string{ServiceTypeClusterIP, ServiceTypeNodePort, ServiceTypeLoadBalancer}
)

// validate returns all settings that cannot work, as InvalidSettings.
func (a PostgresArgs) validate() error {
	return a.invalid().orNil()
}

func (a PostgresArgs) invalid() InvalidSettings {
	var invalid InvalidSettings
	for _, check := range []func() *InvalidSetting{
		a.checkNamespace, a.checkReplicas, a.checkImage, a.checkStorage, a.checkStorageClass, a.checkVolumeName, a.checkAccessModes,
		a.checkServiceType, a.checkNodePort, a.checkAllowFrom, a.checkDatabase, a.checkUser,
		a.checkParameters, a.checkShutdownTimeout, a.checkResources, a.checkShmSize, a.checkNodeSelector, a.checkTolerations, a.checkPriorityClassName,
		a.checkPodAnnotations, a.checkImagePullSecrets, a.checkInitScripts,
		a.checkTLSSecret, a.checkTLSNames, a.checkRequireTLS,
	} {
		if found := check(); found != nil {
			invalid = append(invalid, *found)
		}
	}
	return invalid
}

func (a PostgresArgs) checkNamespace() *InvalidSetting {
	const expected = "a namespace of its own: at most 63 lower-case letters, digits and hyphens, beginning and ending with a letter or digit"
	switch {
	case len(validation.IsDNS1123Label(a.Namespace)) > 0:
		return invalid("namespace", a.Namespace, expected, set("namespace", DefaultNamespace))
	case a.Namespace == "default" || strings.HasPrefix(a.Namespace, "kube-"):
		return invalid("namespace", a.Namespace, "a namespace of its own, not one that belongs to the cluster",
			set("namespace", DefaultNamespace))
	}
	return nil
}

func (a PostgresArgs) checkReplicas() *InvalidSetting {
	value := strconv.Itoa(*a.Replicas)
	switch {
	case *a.Replicas < 0:
		return invalid("replicas", value, expectedReplicas, set("replicas", "1"))
	case *a.Replicas > 1:
		return invalid("replicas", value, expectedReplicas+", because two servers on one volume would destroy it",
			set("replicas", "1"))
	}
	return nil
}

const expectedReplicas = "0 (stopped, data kept) or 1"

func (a PostgresArgs) checkImage() *InvalidSetting {
	if imageReference.MatchString(a.Image) {
		return nil
	}
	return invalid("image", a.Image, "an image reference like postgres:17 or registry.example.com/postgres@sha256:<64 hex digits>",
		set("image", DefaultImage))
}

func (a PostgresArgs) checkStorage() *InvalidSetting {
	const expected = "a Kubernetes quantity of at least " + minStorage + ", like 1Gi or 500Gi"
	quantity, err := resource.ParseQuantity(a.Storage)
	if err != nil || quantity.Cmp(resource.MustParse(minStorage)) < 0 {
		return invalid("storage", a.Storage, expected, set("storage", DefaultStorage))
	}
	return nil
}

func (a PostgresArgs) checkStorageClass() *InvalidSetting {
	if a.StorageClass == "" || len(validation.IsDNS1123Subdomain(a.StorageClass)) == 0 {
		return nil
	}
	return invalid("storageClass", a.StorageClass, "the name of a storage class",
		"list them with: kubectl get storageclass, or use the default one with: pulumi config rm storageClass")
}

func (a PostgresArgs) checkAccessModes() *InvalidSetting {
	fix := set("accessModes", DefaultAccessMode)
	value := strings.Join(a.AccessModes, ",")
	for _, mode := range a.AccessModes {
		switch {
		case mode == "ReadOnlyMany":
			return invalid("accessModes", value, "modes that the server can write with: "+oneOf(accessModes), fix)
		case !slices.Contains(accessModes, mode):
			return invalid("accessModes", value, "one or more of "+oneOf(accessModes), fix)
		}
	}
	modes := slices.Sorted(slices.Values(a.AccessModes))
	if len(slices.Compact(modes)) < len(a.AccessModes) {
		return invalid("accessModes", value, "each mode once", fix)
	}
	if len(a.AccessModes) > 1 && slices.Contains(a.AccessModes, AccessModeReadWriteOncePod) {
		return invalid("accessModes", value, AccessModeReadWriteOncePod+" alone, as Kubernetes demands", fix)
	}
	return nil
}

func (a PostgresArgs) checkServiceType() *InvalidSetting {
	if slices.Contains(serviceTypes, a.ServiceType) {
		return nil
	}
	return invalid("serviceType", a.ServiceType, oneOf(serviceTypes), set("serviceType", DefaultServiceType))
}

func (a PostgresArgs) checkNodePort() *InvalidSetting {
	value := strconv.Itoa(a.NodePort)
	switch {
	case a.NodePort == 0:
		return nil
	case a.NodePort < minNodePort || a.NodePort > maxNodePort:
		return invalid("nodePort", value, expectedNodePort, unset("nodePort"))
	case a.ServiceType == ServiceTypeClusterIP:
		return invalid("nodePort", value, "no node port with serviceType "+ServiceTypeClusterIP,
			unset("nodePort")+", or: pulumi config set serviceType "+ServiceTypeNodePort)
	}
	return nil
}

var expectedNodePort = fmt.Sprintf("a port from %d to %d, or none to let the cluster choose", minNodePort, maxNodePort)

func (a PostgresArgs) checkDatabase() *InvalidSetting {
	switch {
	case !isIdentifier(a.Database):
		return invalid("database", a.Database, expectedIdentifier, set("database", DefaultDatabase))
	case slices.Contains(reservedDatabases, a.Database):
		return invalid("database", a.Database, "a name that PostgreSQL does not use itself", set("database", DefaultDatabase))
	}
	return nil
}

func (a PostgresArgs) checkUser() *InvalidSetting {
	switch {
	case !isIdentifier(a.User):
		return invalid("user", a.User, expectedIdentifier, set("user", DefaultUser))
	case slices.Contains(reservedRoles, a.User) || strings.HasPrefix(a.User, "pg_"):
		return invalid("user", a.User, "a name that PostgreSQL does not use itself", set("user", DefaultUser))
	}
	return nil
}

var expectedIdentifier = fmt.Sprintf("at most %d lower-case letters, digits, underscores and hyphens, beginning with a letter or underscore",
	maxIdentifierLength)

func isIdentifier(name string) bool {
	return len(name) <= maxIdentifierLength && identifier.MatchString(name)
}

// checkPassword says what is wrong with a password, never the password itself.
// It is apart from the others because a password may be an output, which is
// known only later.
func checkPassword(password string) *InvalidSetting {
	const fix = "set another one with: pulumi config set --secret password, or have one generated with: pulumi config rm password"
	wrong := ""
	switch {
	case password == "":
		wrong = "an empty one"
	case !utf8.ValidString(password):
		wrong = "one that is not valid UTF-8"
	case strings.ContainsFunc(password, unicode.IsControl):
		wrong = "one with a line break or another control character"
	case len(password) > maxPasswordLength:
		wrong = fmt.Sprintf("one of %d bytes", len(password))
	default:
		return nil
	}
	return &InvalidSetting{
		Setting:  "password",
		Value:    wrong,
		Expected: fmt.Sprintf("1 to %d bytes of UTF-8 without control characters", maxPasswordLength),
		Fix:      fix,
	}
}

// maxShownLength keeps a line a line, however long the value is.
const maxShownLength = 80

func invalid(setting, value, expected, fix string) *InvalidSetting {
	shown := strconv.Quote(value)
	if len(shown) > maxShownLength {
		shown = fmt.Sprintf("%s… (%d bytes)", strings.ToValidUTF8(shown[:maxShownLength], ""), len(value))
	}
	return &InvalidSetting{Setting: setting, Value: shown, Expected: expected, Fix: fix}
}

func set(setting, value string) string {
	return fmt.Sprintf("set it with: pulumi config set %s %s", setting, value)
}

func unset(setting string) string {
	return "remove it with: pulumi config rm " + setting
}

func oneOf(choices []string) string {
	return strings.Join(choices[:len(choices)-1], ", ") + " or " + choices[len(choices)-1]
}
