package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"stateful-postgres/internal/contract"
	"stateful-postgres/internal/required"
	"stateful-postgres/internal/site"
	"stateful-postgres/internal/stack"
)

// plugin is the folder of the built component package.
var plugin = sync.OnceValues(func() (string, error) {
	folder := filepath.Join(workspace.Folder, "plugin")
	built := workspace.Run(interrupted, "go", "build", "-C", "provider", "-o", filepath.Join(folder, "pulumi-resource-stateful-postgres"), ".")
	return folder, built.Err()
})

// program is a Pulumi program in another language, on a stack of its own whose
// namespace is that of the fixture.
type program struct {
	*fixture
	folder string
}

// example copies an example, which takes the built package instead of building
// it from source before every operation.
func (f *fixture) example(language string, files ...string) *program {
	f.t.Helper()
	p := &program{fixture: f, folder: filepath.Join(f.Folder, language)}
	require.NoError(f.t, os.Mkdir(p.folder, 0o700))
	for _, name := range append(files, "Pulumi.yaml") {
		text, err := os.ReadFile(filepath.Join(workspace.Root, "examples", language, name))
		require.NoError(f.t, err)
		p.write(name, string(text))
	}
	p.takePackage("../../provider", p.built())
	f.ok(p.pulumi("stack", "init", f.Name))
	p.set("namespace", f.Namespace)
	p.set("image", f.Image)
	return p
}

// built is the folder of the built package.
func (p *program) built() string {
	p.t.Helper()
	folder, err := plugin()
	require.NoError(p.t, err)
	return folder
}

// takePackage has the program take the package from another folder.
func (p *program) takePackage(from, to string) {
	p.t.Helper()
	text, err := os.ReadFile(filepath.Join(p.folder, "Pulumi.yaml"))
	require.NoError(p.t, err)
	line := "stateful-postgres: " + from + "\n"
	require.Contains(p.t, string(text), line)
	p.write("Pulumi.yaml", strings.Replace(string(text), line, "stateful-postgres: "+to+"\n", 1))
}

func (p *program) write(name, text string) {
	p.t.Helper()
	require.NoError(p.t, os.WriteFile(filepath.Join(p.folder, name), []byte(text), 0o600))
}

// pulumi runs a command of the CLI in the program's folder.
func (p *program) pulumi(arguments ...string) stack.Result {
	return p.Run(p.ctx, append([]string{"pulumi", "--cwd", p.folder, "--non-interactive"}, arguments...)...)
}

func (p *program) set(key, value string) {
	p.t.Helper()
	p.ok(p.pulumi("config", "set", key, value))
}

func (p *program) update() string {
	p.t.Helper()
	return p.ok(p.pulumi("up", "--yes"))
}

// refused requires that a preview ends with an error, and returns what it says.
func (p *program) refused() string {
	p.t.Helper()
	result := p.pulumi("preview")
	require.False(p.t, result.OK(), "%s", result)
	return result.Output
}

// verifyNamespace runs verify without a stack of this project.
func (p *program) verifyNamespace() string {
	p.t.Helper()
	return p.ok(p.Run(p.ctx, workspace.Verify, "--namespace", p.Namespace, "--ledger", p.Ledger()))
}

func TestYAMLProgramKeepsItsData(t *testing.T) {
	t.Parallel()
	p := setup(t, "yaml").example("yaml")
	p.update()
	require.Contains(t, p.verifyNamespace(), "PASS")

	var outputs map[string]any
	shown := p.ok(p.pulumi("stack", "output", "--json"))
	require.NoError(t, json.Unmarshal([]byte(shown), &outputs), shown)
	require.Equal(t, p.Namespace, outputs["namespace"])
	require.Equal(t, "[secret]", outputs["password"])
	require.Equal(t, p.kubectl("get", "service", contract.Service, "--output=jsonpath={.spec.ports[0].nodePort}"), fmt.Sprint(outputs["nodePort"]))
	password := strings.TrimSpace(p.ok(p.pulumi("stack", "output", "password", "--show-secrets")))
	require.Greater(t, len(password), 10)
	require.NotContains(t, p.ok(p.pulumi("stack", "export")), password)

	p.set("replicas", "0")
	p.update()
	require.Contains(t, p.verifyNamespace(), "PASS the database is down")

	before := p.objects()
	p.set("namespace", p.Namespace+"-elsewhere")
	require.Contains(t, p.refused(), fmt.Sprintf(
		"namespace: got %q, expected %s, because the data is there and cannot move to another namespace; set it in the program: namespace: %s;",
		p.Namespace+"-elsewhere", p.Namespace, p.Namespace))
	p.set("namespace", p.Namespace)
	require.Equal(t, before, p.objects())

	p.ok(p.pulumi("destroy", "--yes"))
	require.Equal(t, "persistentvolumeclaim/postgredb-postgres-0", p.kubectl("get", "pvc,statefulset", "--output=name"))
	p.set("replicas", "1")
	p.update()
	require.Contains(t, p.verifyNamespace(), "10 acknowledged rows, all there and unaltered")
}

// TestMembersFromYAML: what the component does itself during an update, it also
// does as a plugin.
func TestMembersFromYAML(t *testing.T) {
	t.Parallel()
	f := setupFor(t, "yaml-ha", 2*testTimeout)
	f.needsNodes(3)
	p := f.example("yaml")
	m := &members{fixture: p.fixture, site: site.OfStack(p.Stack, 3)}
	rows := 0
	scale := func(replicas int) {
		t.Helper()
		p.set("replicas", strconv.Itoa(replicas))
		p.update()
		if replicas == 0 {
			return
		}
		m.query("insert into kept values (1)")
		rows++
		require.Equal(t, strconv.Itoa(rows), m.query("select count(*) from kept"))
	}
	p.set("highAvailability", "true")
	p.update()
	m.query("create table kept (one bigint)")
	scale(3)

	m.settled(3)
	m.handOver(contract.PodName(2))
	m.settled(3)
	scale(1)
	require.Equal(t, pod, m.leader(), "the writes were handed over before the others stopped")
	require.Contains(t, p.verifyNamespace(), "PASS")
	scale(0)
	require.Contains(t, p.verifyNamespace(), "PASS the database is down")
	scale(1)
	require.Equal(t, pod, m.leader())
	require.Contains(t, p.verifyNamespace(), "10 acknowledged rows, all there and unaltered")

	var outputs map[string]any
	shown := p.ok(p.pulumi("stack", "output", "--json"))
	require.NoError(t, json.Unmarshal([]byte(shown), &outputs), shown)
	require.Equal(t, contract.ReplicasService, outputs["replicasService"])
	require.Equal(t, "postgresql://codewizard@postgres-0.postgres-headless."+p.Namespace+".svc:5432/codewizard?target_session_attrs=read-write", outputs["connectionUri"])
}

func TestInvalidInputsOfAProgramAreAllReported(t *testing.T) {
	t.Parallel()
	p := setup(t, "inputs").example("yaml")
	text, err := os.ReadFile(filepath.Join(p.folder, "Pulumi.yaml"))
	require.NoError(t, err)
	const inputs = "      replicas: ${replicas}\n"
	require.Contains(t, string(text), inputs)
	p.write("Pulumi.yaml", strings.Replace(string(text), inputs,
		"      replicas: 1.5\n      storage: 1Qi\n      nodePort: 65536\n      user:\n        fn::secret: clerk\n", 1))
	output := p.refused()
	for _, line := range []string{
		"4 settings are invalid, nothing was changed:",
		`nodePort: got "65536", expected a port of the cluster's range for node ports, 1 to 65535, or none to let the cluster choose; remove it from the program`,
		`replicas: got "1.5", expected 0 (stopped, data kept) or 1; set it in the program: replicas: 1`,
		`storage: got "1Qi", expected a Kubernetes quantity of at least 128Mi, like 1Gi or 500Gi; set it in the program: storage: 1Gi`,
		`user: got a secret, expected a value that may be seen, because it is stored in plain text; only password and kubeconfig may be secrets`,
	} {
		require.Contains(t, output, line)
	}
	// The stack's kubernetes:* settings count in a program of another language too.
	p.write("Pulumi.yaml", string(text))
	p.set("kubernetes:context", "nowhere")
	output = p.refused()
	require.Contains(t, output, "context \"nowhere\" does not exist; nothing was changed; correct kubernetes:context or kubernetes:kubeconfig")
	missing := p.Kubectl(p.ctx, "get", "namespace", p.Namespace)
	require.Contains(t, missing.Output, "NotFound", "%s", missing)
}

// Two servers of one program have nothing in common, and a third cannot take the
// data of one of them.
func TestComponentsOfOneProgramAreApart(t *testing.T) {
	t.Parallel()
	other := setup(t, "two-other")
	p := setup(t, "two").example("yaml")
	text, err := os.ReadFile(filepath.Join(p.folder, "Pulumi.yaml"))
	require.NoError(t, err)
	head, _, found := strings.Cut(string(text), "\nresources:\n")
	require.True(t, found)
	component := func(name, namespace string) string {
		return fmt.Sprintf("  %s:\n    type: stateful-postgres:Postgres\n    properties:\n      replicas: 0\n      image: ${image}\n      namespace: %s\n", name, namespace)
	}
	both := head + "\nresources:\n" + component("orders", p.Namespace) + component("stock", other.Namespace)
	p.write("Pulumi.yaml", both)
	p.update()
	require.Contains(t, p.kubectl("get", "pvc", "--output=name"), "postgredb-postgres-0")
	require.Contains(t, other.kubectl("get", "pvc", "--output=name"), "postgredb-postgres-0")
	p.ok(p.pulumi("up", "--yes", "--expect-no-changes"))

	p.write("Pulumi.yaml", both+component("returns", other.Namespace))
	require.Contains(t, p.refused(), fmt.Sprintf("namespace: got %q, expected one of its own, because ", other.Namespace))

	p.write("Pulumi.yaml", head+"\nresources:\n"+component("orders", p.Namespace)+component("returns", other.Namespace))
	require.Contains(t, p.refused(), fmt.Sprintf(
		"namespace: got %q, expected one that does not hold the data of another stack or component, as this one does (pulumi-postgres-yaml-%s-stock)",
		other.Namespace, p.Name))
}

// The kubeconfig may come from another resource of the program, here one that the
// update has to make first.
func TestKubeconfigOfTheProgramLeadsToTheCluster(t *testing.T) {
	t.Parallel()
	p := setup(t, "kubeconfig").example("yaml")
	text, err := os.ReadFile(filepath.Join(p.folder, "Pulumi.yaml"))
	require.NoError(t, err)
	kubeconfig := p.ok(p.Run(p.ctx, "kubectl", "config", "view", "--raw", "--flatten", "--output=yaml"))
	p.ok(p.pulumi("config", "set", "--secret", "cluster", strings.TrimSpace(kubeconfig)))
	p.ok(p.pulumi("config", "set", "kubernetes:context", strings.TrimSpace(p.ok(p.Run(p.ctx, "kubectl", "config", "current-context")))))
	other := p.Namespace + "-cluster"
	t.Cleanup(func() { p.Kubectl(p.ctx, "delete", "namespace", other, "--wait=false") })
	made := strings.Replace(string(text), "config:\n", "config:\n  cluster:\n    type: string\n    secret: true\n", 1)
	made = strings.Replace(made, "resources:\n", "resources:\n"+
		"  place:\n    type: kubernetes:core/v1:Namespace\n    properties:\n      metadata:\n        name: "+other+"\n"+
		"  address:\n    type: kubernetes:core/v1:Service\n    properties:\n      metadata:\n        namespace: ${place.metadata.name}\n"+
		"        annotations:\n          pulumi.com/skipAwait: \"true\"\n      spec:\n        ports:\n          - port: 80\n", 1)
	made = strings.Replace(made, "      replicas: ${replicas}\n", "      replicas: ${replicas}\n      kubeconfig: \"${cluster}\\n# ${address.spec.clusterIP}\"\n", 1)
	p.write("Pulumi.yaml", made)

	p.update()
	require.Contains(t, p.verifyNamespace(), "PASS")
	require.NotContains(t, p.ok(p.pulumi("stack", "export")), "client-key-data", "the kubeconfig is a secret in the state")

	// Once it is known, what does not fit is refused at preview.
	p.write("Pulumi.yaml", strings.Replace(made, "      replicas: ${replicas}\n", "      replicas: ${replicas}\n      user: clerk\n", 1))
	require.Contains(t, p.refused(), `user: got "clerk", expected codewizard, because the volume was initialized with it`)
}

// requireNodeVariable makes a missing Node.js a failure.
const requireNodeVariable = "STATEFUL_POSTGRES_REQUIRE_NODE"

// minNode is what @pulumi/pulumi demands.
const minNode = 20

// requireNode leaves the test out, and says so, where there is no Node.js to run
// the program with: Debian's is too old, so the set-up does not install it.
func requireNode(t *testing.T) {
	t.Helper()
	found := "none"
	if version, err := exec.Command("node", "--version").Output(); err == nil {
		found = strings.TrimSpace(string(version))
		major, _, _ := strings.Cut(strings.TrimPrefix(found, "v"), ".")
		number, err := strconv.Atoi(major)
		if _, npm := exec.LookPath("npm"); err == nil && npm == nil && number >= minNode {
			return
		}
	}
	required.Missing(t, requireNodeVariable,
		fmt.Sprintf("the TypeScript example was not tried: it needs npm and Node.js %d or newer on PATH (found: %s)", minNode, found))
}

func TestTypeScriptProgram(t *testing.T) {
	t.Parallel()
	requireNode(t)
	p := setup(t, "typescript").example("typescript", "index.ts", "package.json", "tsconfig.json")
	// As a user does: the SDK is made from the package's source.
	source := filepath.Join(workspace.Root, "provider")
	p.takePackage(p.built(), source)
	p.ok(p.pulumi("install"))
	p.takePackage(source, p.built())
	compiler := filepath.Join(p.folder, "node_modules", ".bin", "tsc")
	p.ok(p.Run(p.ctx, compiler, "--noEmit", "--project", p.folder))

	program, err := os.ReadFile(filepath.Join(p.folder, "index.ts"))
	require.NoError(t, err)
	require.Contains(t, string(program), "    replicas: ")
	p.write("index.ts", strings.Replace(string(program), "    replicas: ", "    replica: ", 1))
	misspelled := p.Run(p.ctx, compiler, "--noEmit", "--project", p.folder)
	require.Contains(t, misspelled.Output, "'replica' does not exist in type 'PostgresArgs'. Did you mean to write 'replicas'?")
	p.write("index.ts", string(program))

	p.update()
	require.Contains(t, p.verifyNamespace(), "PASS")
	p.set("replicas", "2")
	require.Contains(t, p.refused(), `replicas: got "2", expected 0 (stopped, data kept) or 1, because more servers need highAvailability; `+
		`set it in the program: replicas: 1, or have them follow each other in the program: highAvailability: true`)
	p.set("replicas", "0")
	p.update()
	require.Contains(t, p.verifyNamespace(), "PASS the database is down")
}

// What `pulumi package add` reads, built from source as a user's CLI does.
func TestPackageIsBuiltFromSource(t *testing.T) {
	t.Parallel()
	f := setup(t, "source")
	want, err := os.ReadFile(filepath.Join(workspace.Root, "provider", "schema.json"))
	require.NoError(t, err)
	require.JSONEq(t, string(want), f.Run(f.ctx, "pulumi", "package", "get-schema", "./provider").Stdout)

	folder := filepath.Join(f.Folder, "added")
	require.NoError(t, os.Mkdir(folder, 0o700))
	project := filepath.Join(folder, "Pulumi.yaml")
	require.NoError(t, os.WriteFile(project, []byte("name: added\nruntime: yaml\n"), 0o600))
	f.ok(f.Run(f.ctx, "pulumi", "--cwd", folder, "package", "add", filepath.Join(workspace.Root, "provider")))
	text, err := os.ReadFile(project)
	require.NoError(t, err)
	require.Contains(t, string(text), "stateful-postgres: ")
}
