package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// span is a part of what a process of Pulumi did, as `--otel-traces` writes it.
type span struct {
	name string
	// kind is what a plugin is that was started, for spans of that.
	kind       string
	start, end time.Time
}

// readSpans reads a file of `--otel-traces file://`, and sorts by the start.
func readSpans(path string) ([]span, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	spans, err := decodeSpans(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return spans, nil
}

func decodeSpans(from io.Reader) ([]span, error) {
	// The part of OTLP in JSON that is of interest.
	type batch struct {
		ResourceSpans []struct {
			ScopeSpans []struct {
				Spans []struct {
					Name              string
					StartTimeUnixNano string
					EndTimeUnixNano   string
					Attributes        []struct {
						Key   string
						Value struct{ StringValue string }
					}
				}
			}
		}
	}
	var spans []span
	for decoder := json.NewDecoder(from); ; {
		var b batch
		if err := decoder.Decode(&b); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		for _, resource := range b.ResourceSpans {
			for _, scope := range resource.ScopeSpans {
				for _, s := range scope.Spans {
					start, startErr := strconv.ParseInt(s.StartTimeUnixNano, 10, 64)
					end, endErr := strconv.ParseInt(s.EndTimeUnixNano, 10, 64)
					if err := errors.Join(startErr, endErr); err != nil {
						return nil, fmt.Errorf("span %s: %w", s.Name, err)
					}
					read := span{name: s.Name, start: time.Unix(0, start), end: time.Unix(0, end)}
					for _, attribute := range s.Attributes {
						if attribute.Key == "kind" {
							read.kind = attribute.Value.StringValue
						}
					}
					spans = append(spans, read)
				}
			}
		}
	}
	slices.SortFunc(spans, func(a, b span) int { return a.start.Compare(b.start) })
	return spans, nil
}

// trace is one `pulumi up --skip-preview` with all that is known about it.
type trace struct {
	// start and end are those of the command.
	start, end time.Time
	spans      []span
	pod        sightings
	// log is of the server that was started, if one was.
	log serverLog
}

// find returns the first span of a name, and of a kind where that is not "",
// which starts at a time or later; without one it is zero.
func (t *trace) find(name, kind string, from time.Time) span {
	for _, s := range t.spans {
		if s.name == name && (kind == "" || s.kind == kind) && !s.start.Before(from) {
			return s
		}
	}
	return span{}
}

// Names of spans.
const (
	commandSpan   = "pulumi"
	planSpan      = "pulumi-plan"
	pluginSpan    = "newPlugin"
	configureSpan = "pulumirpc.ResourceProvider/Configure"
	readSpan      = "pulumirpc.ResourceProvider/Read"
	checkSpan     = "pulumirpc.ResourceProvider/CheckConfig"
	diffSpan      = "pulumirpc.ResourceProvider/DiffConfig"
	updateSpan    = "pulumirpc.ResourceProvider/Update"
	aboutSpan     = "pulumirpc.LanguageRuntime/About"
	runSpan       = "pulumirpc.LanguageRuntime/Run"
	featureSpan   = "pulumirpc.ResourceMonitor/SupportsFeature"
)

// phase is a piece of an update, up to a moment. Phases follow each other; the
// first begins with the command.
type phase struct {
	what, whose string
	until       time.Time
}

// phases cuts an update into its pieces, one after the other.
func (t *trace) phases() ([]phase, error) {
	var none time.Time
	command := t.find(commandSpan, "", none)
	about := t.find(aboutSpan, "", none)
	plan := t.find(planSpan, "", none)
	provider := t.find(pluginSpan, "resource", plan.start)
	configured := t.find(configureSpan, "", provider.start)
	run := t.find(runSpan, "", configured.end)
	program := t.find(featureSpan, "", run.start)
	again := t.find(pluginSpan, "resource", program.start)
	checked := t.find(checkSpan, "", program.start)
	same := t.find(diffSpan, "", checked.start)
	update := t.find(updateSpan, "", same.end)

	// Without a second start of the provider, its settings are all that is checked.
	settings := checked.start
	if !again.start.IsZero() && again.start.Before(settings) {
		settings = again.start
	}
	phases := []phase{
		{"command line starts", "CLI", command.start},
		{"language host starts, and is asked for its version", "CLI", about.end},
		{"settings, key from the passphrase (PBKDF2), state", "CLI", plan.start},
		{"language host starts again, and lists the modules (`go list`)", "language host", provider.start},
		{"provider starts, and looks at the cluster", "provider", configured.end},
		{"refresh: every object is read", "engine, provider", run.start},
		{"`go build` of the program, which then starts", "language host", program.start},
		{"program looks at its last state and the cluster", "program", settings},
		{"provider starts again, for the check of its settings", "engine", same.end},
	}
	if update.start.IsZero() {
		phases = append(phases, phase{objectsPhase, "engine", run.end})
	} else {
		phases = append(phases, phase{objectsPhase, "engine", update.start})
		phases = append(phases, t.waiting()...)
		phases = append(phases,
			phase{"provider sees that the StatefulSet is as asked for", "provider", update.end},
			phase{"marker, outputs; program ends", "engine, program", run.end})
	}
	phases = append(phases, phase{"state is written; command line ends", "CLI", t.end})
	last := t.start
	for _, p := range phases {
		if p.until.Before(last) {
			return nil, fmt.Errorf("trace: expected %q to end at %s or later, got %s", p.what, last.Format(time.StampMilli), p.until.Format(time.StampMilli))
		}
		last = p.until
	}
	return phases, nil
}

const objectsPhase = "objects are declared, checked and compared"

// waiting are the phases of the StatefulSet's update.
func (t *trace) waiting() []phase {
	if !t.pod.gone.IsZero() {
		return []phase{
			{"StatefulSet is changed, until the pod is marked for deletion", "provider, Kubernetes", t.pod.deleted},
			{"checkpoint, and the server stops", "PostgreSQL, kubelet", t.pod.stopped},
			{"until the pod is gone: the kubelet's next look, once a second", "kubelet", t.pod.gone},
		}
	}
	return []phase{
		{"StatefulSet is changed, until there is a pod", "provider, Kubernetes", t.pod.created},
		{"volumes and container, until the first line of the log", "Kubernetes", t.log.first},
		{"server starts, until it takes connections", "PostgreSQL", t.log.answers},
		{"until the pod is Ready: the kubelet's looks and the probes", "kubelet, probes", t.pod.ready},
	}
}

// measureTrace traces updates, and says where the time goes.
func measureTrace(ctx context.Context, b *bench) (findings, error) {
	s, err := b.sharedServer(ctx)
	if err != nil {
		return findings{}, err
	}
	kinds := []struct{ name, replicas string }{{"nothing to do", ""}, {"1 to 0", "0"}, {"0 to 1", "1"}}
	found := map[string]*breakdown{}
	for _, kind := range kinds {
		found[kind.name] = &breakdown{}
	}
	for run := range b.few() {
		b.say("trace: %d of %d", run+1, b.few())
		for _, kind := range kinds {
			if kind.replicas != "" {
				if err := s.Set(ctx, "replicas", kind.replicas).Err(); err != nil {
					return findings{}, err
				}
			}
			if kind.replicas == "0" {
				if err := s.untilQuiet(ctx); err != nil {
					return findings{}, err
				}
			}
			traced, err := s.traceUp(ctx, kind.replicas)
			if err != nil {
				return findings{}, fmt.Errorf("%s: %w", kind.name, err)
			}
			if err := found[kind.name].add(traced); err != nil {
				return findings{}, fmt.Errorf("%s: %w", kind.name, err)
			}
		}
	}
	result := findings{notes: []string{
		"`pulumi up --yes --skip-preview`, by `--otel-traces file://`, a watch of the pod and the server's log, cut into pieces that follow each other. Without `--skip-preview`, what is between the key from the passphrase and the declared objects is done twice.",
		"CLI, engine, language host and provider are Pulumi's; the kubelet and the other parts of Kubernetes are the cluster's. Ours are the program, the probes and what the server does before it stops.",
	}}
	for _, kind := range kinds {
		result.tables = append(result.tables, found[kind.name].table(kind.name))
	}
	return result, nil
}

// traceUp runs an update to a number of replicas, "" for those that are there.
func (s *server) traceUp(ctx context.Context, replicas string) (*trace, error) {
	path := filepath.Join(s.Folder, "trace.json")
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	watch, err := s.watchPod(ctx)
	if err != nil {
		return nil, err
	}
	t := &trace{start: time.Now()}
	err = s.Up(ctx, "--skip-preview", "--otel-traces", "file://"+path).Err()
	t.end = time.Now()
	switch {
	case err != nil:
	case replicas == "0":
		_, err = watch.until(ctx, "gone", func(seen sightings) time.Time { return seen.gone })
	case replicas == "1":
		_, err = watch.until(ctx, "ready", func(seen sightings) time.Time { return seen.ready })
	}
	t.pod = watch.close()
	if err != nil {
		return nil, err
	}
	if replicas == "1" {
		if _, err := s.untilAnswer(ctx); err != nil {
			return nil, err
		}
		if t.log, err = s.readServerLog(ctx); err != nil {
			return nil, err
		}
	}
	t.spans, err = readSpans(path)
	return t, err
}

// breakdown is how long each phase took, in every trace of one kind.
type breakdown struct {
	phases []phase
	taken  []times
	whole  times
}

// add takes a trace of the same kind.
func (b *breakdown) add(t *trace) error {
	phases, err := t.phases()
	if err != nil {
		return err
	}
	if b.phases == nil {
		b.phases, b.taken = phases, make([]times, len(phases))
	}
	last := t.start
	for i, p := range phases {
		b.taken[i] = append(b.taken[i], p.until.Sub(last))
		last = p.until
	}
	b.whole = append(b.whole, t.end.Sub(t.start))
	return nil
}

func (b *breakdown) table(name string) table {
	t := table{
		caption: fmt.Sprintf("%s: %s", strings.ToUpper(name[:1])+name[1:], b.whole),
		columns: []string{"what", "whose", "seconds"},
	}
	for i, p := range b.phases {
		t.lines = append(t.lines, []string{p.what, p.whose, fmt.Sprintf("%.2f", b.taken[i].median().Seconds())})
	}
	return t
}
