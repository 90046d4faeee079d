package objects

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"

	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"stateful-postgres/components/scripts"
	"stateful-postgres/components/settings"
	"stateful-postgres/internal/contract"
)

// ConfigMap is what the image is told, the server's own files, and the scripts.
func ConfigMap(d Description) Object[corev1.ConfigMapArgs] {
	return Object[corev1.ConfigMapArgs]{
		Title: "config map " + contract.ConfigMap,
		Args: &corev1.ConfigMapArgs{
			Metadata: d.metadata(contract.ConfigMap, nil),
			Data:     pulumi.ToStringMap(configData(d.Settings)),
		},
	}
}

func configData(a settings.Args) map[string]string {
	data := map[string]string{
		contract.DatabaseKey: a.Database,
		contract.UserKey:     a.User,
		configFile:           serverConfig(a),
		accessFile:           access(a),
	}
	for _, path := range serverScripts(a) {
		data[scripts.Key(path)] = scripts.Text(path)
	}
	if a.HighAvailability {
		data[patroniFile] = patroniConfig(a)
	}
	for name, text := range a.InitScripts {
		data[settings.InitScriptPrefix+name] = text
	}
	return data
}

// configDigest changes when the server has to be restarted for what the ConfigMap
// holds. A change of the server's own files alone is left to the running server;
// parameters that it cannot take over are counted apart.
func configDigest(a settings.Args) string {
	data := configData(a)
	delete(data, configFile)
	delete(data, accessFile)
	maps.Copy(data, restartParameters(a))
	return digest(data)
}

// digest changes when any key or value of the data does.
func digest(data map[string]string) string {
	sum := sha256.New()
	for _, key := range slices.Sorted(maps.Keys(data)) {
		fmt.Fprintf(sum, "%d:%s%d:%s", len(key), key, len(data[key]), data[key])
	}
	return hex.EncodeToString(sum.Sum(nil))
}
