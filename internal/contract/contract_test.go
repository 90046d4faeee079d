package contract_test

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"stateful-postgres/internal/contract"
)

// constants are the values of the constants that begin with a prefix, as they
// stand in the source.
func constants(t *testing.T, file, prefix string) []string {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	require.NoError(t, err)
	var values []string
	ast.Inspect(parsed, func(node ast.Node) bool {
		spec, isValue := node.(*ast.ValueSpec)
		if isValue && strings.HasPrefix(spec.Names[0].Name, prefix) {
			value, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			require.NoError(t, err)
			values = append(values, value)
		}
		return true
	})
	return values
}

func TestOutputNamesForgetNone(t *testing.T) {
	t.Parallel()
	require.Equal(t, constants(t, "outputs.go", "Output"), contract.OutputNames())
}

func TestOutputsHaveTheirNames(t *testing.T) {
	t.Parallel()
	named := []struct{ field, name string }{
		{"Namespace", contract.OutputNamespace},
		{"StatefulSet", contract.OutputStatefulSet},
		{"Service", contract.OutputService},
		{"HeadlessService", contract.OutputHeadlessService},
		{"Claim", contract.OutputClaim},
		{"Database", contract.OutputDatabase},
		{"User", contract.OutputUser},
		{"Password", contract.OutputPassword},
		{"TLS", contract.OutputTLS},
		{"RequireTLS", contract.OutputRequireTLS},
		{"CACertificate", contract.OutputCACertificate},
		{"TLSServerName", contract.OutputTLSServerName},
		{"Replicas", contract.OutputReplicas},
		{"HighAvailability", contract.OutputHighAvailability},
		{"Port", contract.OutputPort},
		{"Context", contract.OutputContext},
		{"Cluster", contract.OutputCluster},
		{"Kubeconfig", contract.OutputKubeconfig},
	}
	fields := reflect.TypeFor[contract.Outputs]()
	require.Equal(t, fields.NumField(), len(named), "fields of Outputs, and the list above")
	for _, output := range named {
		field, found := fields.FieldByName(output.field)
		require.True(t, found, output.field)
		require.Equal(t, output.name, field.Tag.Get("json"), output.field)
		require.Contains(t, contract.OutputNames(), output.name)
	}
}

func TestOutputsReadWhatPulumiPrints(t *testing.T) {
	t.Parallel()
	var outputs contract.Outputs
	require.NoError(t, json.Unmarshal([]byte(`{"namespace":"shop","replicas":1,"requireTls":true,"cluster":"c","nodePort":30432}`), &outputs))
	require.Equal(t, contract.Outputs{Namespace: "shop", Replicas: 1, RequireTLS: true, Cluster: "c"}, outputs)
}

func TestRequiredOutputsAreRead(t *testing.T) {
	t.Parallel()
	fields := reflect.TypeFor[contract.Outputs]()
	var read []string
	for field := range fields.NumField() {
		read = append(read, fields.Field(field).Tag.Get("json"))
	}
	require.Subset(t, read, contract.RequiredOutputs())
}

func TestNamesAreThoseOfDeployedStacks(t *testing.T) {
	t.Parallel()
	require.Equal(t, "postgredb-postgres-0", contract.ClaimName(0))
	require.Equal(t, "postgres-0", contract.PodName(0))
	require.Equal(t, "postgres.shop.svc", contract.TLSServerName("shop"))
	require.Equal(t, map[string]string{
		"app.kubernetes.io/name": "postgres", "app.kubernetes.io/instance": "postgres",
	}, contract.SelectorLabels())
	require.Equal(t, map[string]string{
		"app.kubernetes.io/name": "postgres", "app.kubernetes.io/instance": "postgres", "app.kubernetes.io/managed-by": "pulumi",
	}, contract.ObjectLabels())
}
