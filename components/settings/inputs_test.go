package settings

import (
	"strings"
	"testing"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/property"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"stateful-postgres/components/problem"
)

func ptr[T any](value T) *T { return &value }

func object(fields map[string]property.Value) property.Value {
	return property.New(property.NewMap(fields))
}

func list(items ...property.Value) property.Value {
	return property.New(property.NewArray(items))
}

func TestInputsAreReadLikeSettings(t *testing.T) {
	t.Parallel()
	password, kubeconfig := pulumi.String("the tracked one"), pulumi.String("another")
	args := FromInputs(property.NewMap(map[string]property.Value{
		"replicas":        property.New(0.0),
		"image":           property.New("localhost/postgres:15"),
		"namespace":       property.New(property.Null),
		"nodePort":        property.New(30001.0),
		"accessModes":     list(property.New("ReadWriteOnce"), property.New("ReadWriteMany")),
		"allowFrom":       list(),
		"deleteData":      property.New(true),
		"password":        property.New("hunter2").WithSecret(true),
		"kubeconfig":      property.New(property.Computed),
		"shutdownTimeout": property.New("90s"),
		"parameters":      object(map[string]property.Value{"max_connections": property.New(50.0), "jit": property.New(false), "work_mem": property.New("8MB")}),
		"resources":       object(map[string]property.Value{"limits": object(map[string]property.Value{"cpu": property.New(0.5)})}),
		"tolerations":     list(object(map[string]property.Value{"operator": property.New("Exists"), "effect": property.New("NoExecute"), "tolerationSeconds": property.New(5.0)})),
	}), map[string]pulumi.StringInput{"password": password, "kubeconfig": kubeconfig})
	require.NoError(t, invalid(args))
	require.Equal(t, &Args{
		Replicas: ptr(0), Image: "localhost/postgres:15", NodePort: 30001, AccessModes: []string{"ReadWriteOnce", "ReadWriteMany"},
		DeleteData: true, Password: password, Kubeconfig: kubeconfig, ShutdownTimeout: 90 * time.Second,
		Parameters:  Scalars{"max_connections": "50", "jit": "false", "work_mem": "8MB"},
		Resources:   Resources{Limits: Scalars{"cpu": "0.5"}},
		Tolerations: []corev1.Toleration{{Operator: "Exists", Effect: "NoExecute", TolerationSeconds: ptr(int64(5))}},
	}, args)
}

func TestInvalidInputs(t *testing.T) {
	t.Parallel()
	const known = "a value that is not known yet, expected one that is known at preview; take it from the stack's config, or write it into the program"
	const seen = "a secret, expected a value that may be seen, because it is stored in plain text; only password and kubeconfig may be secrets"
	for _, test := range []struct {
		name   string
		value  property.Value
		expect string
	}{
		{"replicas", property.New(1.5), `got "1.5", expected 0 (stopped, data kept) or 1; set it in the program: replicas: 1`},
		{"replicas", property.New("two"), `got "two", expected 0 (stopped, data kept) or 1; set it in the program: replicas: 1`},
		{"nodePort", property.New(1e300), `got "1` + strings.Repeat("0", 78) + `… (301 bytes), expected a port of the cluster's range for node ports, 1 to 65535, or none to let the cluster choose; remove it from the program`},
		{"deleteData", property.New("maybe"), `got "maybe", expected true or false; set it in the program: deleteData: false`},
		{"database", property.New(""), `got "", expected at most 63 letters of a to z and A to Z, digits, underscores and hyphens, beginning with a letter or underscore; set it in the program: database: codewizard`},
		{"storage", property.New(1.0), `got "1", expected a Kubernetes quantity of at least 128Mi, like 1Gi or 500Gi; set it in the program: storage: 1Gi`},
		{"parameters", property.New("shared_buffers"), `got "shared_buffers", expected a map of parameters, like {shared_buffers: 256MB}; remove it from the program`},
		{"parameters", object(map[string]property.Value{"a": list()}), `got "{\"a\":[]}", expected a map of parameters, like {shared_buffers: 256MB}; remove it from the program`},
		{"resources", object(map[string]property.Value{"request": object(nil)}), `got "{\"request\":{}}", expected requests and limits, like {requests: {memory: 1Gi}}; remove it from the program`},
		{"namespace", property.New(property.Computed), "got " + known},
		{"parameters", object(map[string]property.Value{"a": property.New(property.Computed), "b": property.New("x")}), "got " + known},
		{"database", property.New("shop").WithSecret(true), "got " + seen},
		{"parameters", object(map[string]property.Value{"a": property.New("x").WithSecret(true), "b": property.New("x")}), "got " + seen},
		{"password", property.New("hunter2"), `got one in plain text, expected a secret; ` +
			`make it one in the program, like fn::secret in YAML or pulumi.secret in TypeScript, or take it from the secret config`},
		{"kubeconfig", property.New(7.0), `got one that is no text, expected a text; remove it from the program`},
		{"password", property.New(7.0).WithSecret(true), `got one that is no text, expected a secret text; remove it from the program`},
		{"password", property.New("a\nb").WithSecret(true), `got one with a line break or another control character, ` +
			`expected 1 to 1024 bytes of UTF-8 without control characters; set another one in the program, or have one generated by removing password from the program`},
	} {
		args := FromInputs(property.NewMap(map[string]property.Value{test.name: test.value}), nil)
		require.EqualError(t, invalid(args), "1 setting is invalid, nothing was changed:\n  "+test.name+": "+test.expect)
	}
}

func TestInvalidInputsAreReportedTogether(t *testing.T) {
	t.Parallel()
	args := FromInputs(property.NewMap(map[string]property.Value{
		"storage": property.New("1Qi"), "replica": property.New(1.0), "namespace": property.New(property.Computed),
	}), nil)
	problems := args.WithDefaults().Invalid()
	require.Len(t, problems, 3)
	require.Equal(t, "namespace", problems[0].Setting)
	require.Contains(t, problems[1].Line(problem.Program), `replica: got "1", expected one of the settings accessModes, `)
	require.Contains(t, problems[1].Line(problem.Program), "; remove it from the program")
	require.Equal(t, "storage", problems[2].Setting)
}

func TestPasswordThatIsKnownLaterIsTracked(t *testing.T) {
	t.Parallel()
	password := pulumi.String("later")
	args := FromInputs(property.NewMap(map[string]property.Value{"password": property.New(property.Computed)}), map[string]pulumi.StringInput{"password": password})
	require.NoError(t, invalid(args))
	require.Equal(t, password, args.Password)
	for _, none := range []property.Value{property.New(""), property.New(property.Null)} {
		args = FromInputs(property.NewMap(map[string]property.Value{"password": none}), map[string]pulumi.StringInput{"password": password})
		require.NoError(t, invalid(args))
		require.Nil(t, args.Password)
	}
}

// requireFixForPrograms requires that what to do needs no `pulumi config` in a
// program that declares the component itself.
func requireFixForPrograms(t *testing.T, err error) {
	t.Helper()
	var invalid *problem.Error
	require.ErrorAs(t, err, &invalid)
	require.NotContains(t, problem.AsError(invalid.Problems, problem.Program).Error(), "pulumi config")
}
