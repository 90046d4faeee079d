package components

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// scripts are what the pod runs around the image's own entrypoint.
//
//go:embed scripts
var scripts embed.FS

// The scripts, by their path below the folder in which the pod finds them.
const (
	startScript      = "start.sh"
	adoptScript      = "adopt.sh"
	startedScript    = "started.sh"
	readyScript      = "ready.sh"
	aliveScript      = "alive.sh"
	checkpointScript = "checkpoint.sh"
	initServer       = "init/postgres"
)

// checkScript is what the Job runs that checks the parameters; no pod of a
// server needs it.
const checkScript = "check.sh"

var scriptPaths = []string{startScript, adoptScript, startedScript, readyScript, aliveScript, checkpointScript, initServer}

// scriptKey is a script's key in the ConfigMap, which may hold no slash.
func scriptKey(path string) string { return strings.ReplaceAll(path, "/", "-") }

// Keys of the ConfigMap that become environment variables of the image.
const (
	databaseKey = "POSTGRES_DB"
	userKey     = "POSTGRES_USER"
)

// initScriptPrefix begins the ConfigMap's keys of the scripts of the settings.
const initScriptPrefix = "initdb-"

// newConfigMap declares the ConfigMap: what the image is told, and the scripts.
func (p *Postgres) newConfigMap(ctx *pulumi.Context, name string, opts ...pulumi.ResourceOption) error {
	data, err := p.configData()
	if err != nil {
		return fmt.Errorf("config map %s: %w", configMapName, err)
	}
	configMap, err := corev1.NewConfigMap(ctx, name, &corev1.ConfigMapArgs{
		Metadata: p.objectMeta(ctx, configMapName, nil),
		Data:     pulumi.ToStringMap(data),
	}, opts...)
	if err != nil {
		return fmt.Errorf("config map %s: %w", configMapName, err)
	}
	p.configMap = configMap
	// A change of these files alone is left to the running server; parameters
	// that it cannot take over are counted apart.
	delete(data, configFile)
	delete(data, accessFile)
	maps.Copy(data, p.args.restartParameters())
	p.configDigest = digest(data)
	return nil
}

func (p *Postgres) configData() (map[string]string, error) {
	data := map[string]string{
		databaseKey: p.args.Database,
		userKey:     p.args.User,
	}
	for _, path := range scriptPaths {
		text, err := scripts.ReadFile("scripts/" + path)
		if err != nil {
			return nil, err
		}
		data[scriptKey(path)] = string(text)
	}
	data[configFile] = p.args.serverConfig()
	data[accessFile] = p.args.access()
	for name, text := range p.args.InitScripts {
		data[initScriptPrefix+name] = text
	}
	return data, nil
}

// digest changes when any key or value of the data does.
func digest(data map[string]string) string {
	sum := sha256.New()
	for _, key := range slices.Sorted(maps.Keys(data)) {
		fmt.Fprintf(sum, "%d:%s%d:%s", len(key), key, len(data[key]), data[key])
	}
	return hex.EncodeToString(sum.Sum(nil))
}
