package kubeconfig_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"stateful-postgres/internal/kubeconfig"
)

const secret = "not-a-real-one"

// write writes a kubeconfig with the contexts first and second, of which the
// first is the current one, and returns its content.
func write(t *testing.T, path string, change func(*clientcmdapi.Config)) string {
	t.Helper()
	config := clientcmdapi.Config{
		CurrentContext: "first",
		Clusters: map[string]*clientcmdapi.Cluster{
			"first":  {Server: "https://first.example.com"},
			"second": {Server: "https://second.example.com"},
		},
		AuthInfos: map[string]*clientcmdapi.AuthInfo{"user": {Token: secret}},
		Contexts: map[string]*clientcmdapi.Context{
			"first":  {Cluster: "first", AuthInfo: "user"},
			"second": {Cluster: "second", AuthInfo: "user"},
		},
	}
	if change != nil {
		change(&config)
	}
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, clientcmd.WriteToFile(config, path))
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(content)
}

// onOneLine is the content of a kubeconfig as some tools write it.
const onOneLine = `{"apiVersion":"v1","kind":"Config","current-context":"first",` +
	`"clusters":[{"name":"first","cluster":{"server":"https://first.example.com"}}],` +
	`"contexts":[{"name":"first","context":{"cluster":"first","user":"user"}}],` +
	`"users":[{"name":"user","user":{"token":"` + secret + `"}}]}`

func TestSourceLeadsToTheCluster(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("KUBECONFIG", "")
	folder := t.TempDir()
	t.Chdir(folder)
	path := filepath.Join(folder, "one line", "config")
	content := write(t, path, nil)
	write(t, filepath.Join(home, "mine"), func(config *clientcmdapi.Config) { config.CurrentContext = "second" })
	usual := filepath.Join(folder, "usual")
	write(t, usual, func(config *clientcmdapi.Config) { config.Clusters["first"].Server = "https://usual.example.com" })
	empty := filepath.Join(folder, "empty")
	require.NoError(t, os.WriteFile(empty, nil, 0o600))

	for name, test := range map[string]struct {
		source kubeconfig.Source
		usual  string
		want   string
	}{
		"path":                   {kubeconfig.Source{Kubeconfig: path}, "", "https://first.example.com"},
		"path relative":          {kubeconfig.Source{Kubeconfig: "one line/config"}, "", "https://first.example.com"},
		"path below home":        {kubeconfig.Source{Kubeconfig: "~/mine"}, "", "https://second.example.com"},
		"content":                {kubeconfig.Source{Kubeconfig: content}, "", "https://first.example.com"},
		"content with CRLF":      {kubeconfig.Source{Kubeconfig: strings.ReplaceAll(content, "\n", "\r\n")}, "", "https://first.example.com"},
		"content on one line":    {kubeconfig.Source{Kubeconfig: onOneLine}, "", "https://first.example.com"},
		"path before usual":      {kubeconfig.Source{Kubeconfig: path}, usual, "https://first.example.com"},
		"usual":                  {kubeconfig.Source{}, usual, "https://usual.example.com"},
		"several usual":          {kubeconfig.Source{}, empty + string(os.PathListSeparator) + filepath.Join(folder, "none") + string(os.PathListSeparator) + usual, "https://usual.example.com"},
		"context":                {kubeconfig.Source{Kubeconfig: path, Context: "second"}, "", "https://second.example.com"},
		"context of usual":       {kubeconfig.Source{Context: "second"}, usual, "https://second.example.com"},
		"cluster":                {kubeconfig.Source{Kubeconfig: path, Cluster: "second"}, "", "https://second.example.com"},
		"cluster of content":     {kubeconfig.Source{Kubeconfig: content, Cluster: "second"}, "", "https://second.example.com"},
		"cluster of usual":       {kubeconfig.Source{Cluster: "second"}, usual, "https://second.example.com"},
		"cluster before context": {kubeconfig.Source{Kubeconfig: path, Context: "second", Cluster: "first"}, "", "https://first.example.com"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("KUBECONFIG", test.usual)
			config, err := test.source.RESTConfig()
			require.NoError(t, err)
			require.Equal(t, test.want, config.Host)
			require.Equal(t, secret, config.BearerToken)
		})
	}
}

func TestSourceResolvesPathsInAFileAgainstTheFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "config")
	write(t, path, func(config *clientcmdapi.Config) {
		config.AuthInfos["user"] = &clientcmdapi.AuthInfo{TokenFile: "token"}
	})
	require.NoError(t, os.WriteFile(filepath.Join(filepath.Dir(path), "token"), []byte(secret), 0o600))
	config, err := kubeconfig.Source{Kubeconfig: path}.RESTConfig()
	require.NoError(t, err)
	require.Equal(t, filepath.Join(filepath.Dir(path), "token"), config.BearerTokenFile)
}

func TestSourceGoesThroughTheProxy(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "config")
	content := write(t, path, func(config *clientcmdapi.Config) {
		config.Clusters["first"].ProxyURL = "socks5://proxy.example.com:1080"
	})
	for _, given := range []string{path, content} {
		config, err := kubeconfig.Source{Kubeconfig: given}.RESTConfig()
		require.NoError(t, err)
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, config.Host, nil)
		require.NoError(t, err)
		proxy, err := config.Proxy(request)
		require.NoError(t, err)
		require.Equal(t, "socks5://proxy.example.com:1080", proxy.String())
	}
}

func TestSourceSaysWhatIsWrongWithoutCredentials(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	t.Setenv("KUBECONFIG", "")
	folder := t.TempDir()
	good := filepath.Join(folder, "good")
	write(t, good, nil)
	// The parser quotes the beginning of such a text.
	broken := filepath.Join(folder, "broken")
	require.NoError(t, os.WriteFile(broken, []byte(secret), 0o600))
	proxy := filepath.Join(folder, "proxy")
	write(t, proxy, func(config *clientcmdapi.Config) { config.Clusters["first"].ProxyURL = "ftp://me:" + secret + "@proxy" })

	for name, test := range map[string]struct {
		source kubeconfig.Source
		usual  string
		want   string
	}{
		"no file":             {kubeconfig.Source{Kubeconfig: "/none/config"}, "", "got /none/config: no such file or directory"},
		"no file below home":  {kubeconfig.Source{Kubeconfig: "~/none"}, "", "got ~/none: no such file or directory"},
		"token for a path":    {kubeconfig.Source{Kubeconfig: secret}, "", "got 14 characters that name no file from here: no such file or directory"},
		"long token":          {kubeconfig.Source{Kubeconfig: strings.Repeat(secret, 1000)}, "", "got 14000 characters that name no file from here: file name too long"},
		"folder":              {kubeconfig.Source{Kubeconfig: folder}, "", "expected a file that can be read, got " + folder + ": is a directory"},
		"broken file":         {kubeconfig.Source{Kubeconfig: broken}, "", "expected YAML or JSON of kind Config, got something else in " + broken},
		"broken content":      {kubeconfig.Source{Kubeconfig: secret + "\n"}, "", "got 15 bytes that cannot be read as a kubeconfig"},
		"broken JSON":         {kubeconfig.Source{Kubeconfig: `{"apiVersion":"v1","kind":"Config","users":"` + secret + `"}`}, "", "bytes that cannot be read as a kubeconfig"},
		"broken usual file":   {kubeconfig.Source{}, good + string(os.PathListSeparator) + broken, "got something else in " + broken},
		"nothing usual":       {kubeconfig.Source{}, filepath.Join(folder, "none"), "expected one in $KUBECONFIG or "},
		"no such context":     {kubeconfig.Source{Kubeconfig: good, Context: "third"}, "", `context "third" does not exist`},
		"no such cluster":     {kubeconfig.Source{Kubeconfig: good, Cluster: "third"}, "", `cluster "third" does not exist`},
		"proxy of no use":     {kubeconfig.Source{Kubeconfig: proxy}, "", `cluster "first": expected a proxy-url like http://HOST:PORT`},
		"proxy in usual file": {kubeconfig.Source{}, proxy, `cluster "first": expected a proxy-url like http://HOST:PORT`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("KUBECONFIG", test.usual)
			_, err := test.source.RESTConfig()
			require.ErrorContains(t, err, test.want)
			require.True(t, strings.HasPrefix(err.Error(), "kubeconfig: "), err)
			require.NotContains(t, err.Error(), "not-a-real")
			require.NotContains(t, err.Error(), "\n")
		})
	}
}
