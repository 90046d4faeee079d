package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/pulumi/pulumi/sdk/v3/go/common/apitype"
	"github.com/pulumi/pulumi/sdk/v3/go/common/diag/colors"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/urn"

	"stateful-postgres/internal/progress"
)

// operation is how a change of a resource is written.
type operation struct{ mark, planned, doing, done string }

var operations = map[apitype.OpType]operation{
	apitype.OpCreate:            {colors.SpecCreate + "+", "to create", "creating", "created"},
	apitype.OpUpdate:            {colors.SpecUpdate + "~", "to update", "updating", "updated"},
	apitype.OpDelete:            {colors.SpecDelete + "-", "to delete", "deleting", "deleted"},
	apitype.OpReplace:           {colors.SpecReplace + "±", "to replace", "replacing", "replaced"},
	apitype.OpCreateReplacement: {colors.SpecCreateReplacement + "+", "to create as a replacement", "creating a replacement", "created as a replacement"},
	apitype.OpDeleteReplaced:    {colors.SpecDeleteReplaced + "-", "to delete after their replacement", "deleting what was replaced", "deleted after its replacement"},
	apitype.OpImport:            {colors.SpecCreate + "=", "to import", "importing", "imported"},
}

// words are those for an operation, which is called by its own name when it has none.
func words(op apitype.OpType) operation {
	if known, ok := operations[op]; ok {
		return known
	}
	return operation{"*", string(op), string(op), string(op)}
}

// unchanged are operations that change nothing: they are counted, or not even that.
var unchanged = []apitype.OpType{apitype.OpSame, apitype.OpRefresh, apitype.OpRead}

// updateLog is the log of one run of pulumi.
type updateLog struct {
	out   io.Writer
	color colors.Colorization
	// line shows what is waited for.
	line *progress.Line
	// now is replaced in tests.
	now func() time.Time
	// err is the first error of writing.
	err error

	// begun is when the preview or the update did.
	begun time.Time
	// failed says that it had an error.
	failed bool
	// said are the messages that were printed: a preview and its update have the same ones.
	said map[string]bool
	// names are what the cluster calls the resources.
	names map[string]string
	// running are the changes under way, in the order of their starts.
	running []change
}

// change is one of a resource.
type change struct {
	urn   string
	op    apitype.OpType
	begun time.Time
	// status is what the provider last said about it.
	status string
}

func newLog(out io.Writer, color colors.Colorization, line *progress.Line) *updateLog {
	return &updateLog{out: out, color: color, line: line, now: time.Now, begun: time.Now(), said: map[string]bool{}, names: map[string]string{}}
}

// print writes a line, or several. Colours are directives of package colors, as in pulumi's own
// messages.
func (l *updateLog) print(indent, format string, arguments ...any) {
	var lines []string
	for line := range strings.Lines(fmt.Sprintf(format, arguments...)) {
		if line = strings.TrimRightFunc(line, unicode.IsSpace); line != "" {
			lines = append(lines, line)
		}
	}
	text := l.color.Colorize(indent + strings.Join(lines, "\n"+indent+"  ") + colors.Reset)
	l.line.Print(func() {
		if _, err := fmt.Fprintln(l.out, text); err != nil && l.err == nil {
			l.err = err
		}
	})
}

const (
	// heading is where a line begins that stands for itself, below one that belongs to it.
	heading = ""
	below   = "  "
)

// event writes what there is to say about an event, and shows what is waited for after it.
func (l *updateLog) event(event apitype.EngineEvent) {
	switch {
	case event.PreludeEvent != nil:
		l.begun, l.failed, l.running = l.now(), false, nil
	case event.ResourcePreEvent != nil:
		l.start(event.ResourcePreEvent.Metadata, event.ResourcePreEvent.Planning)
	case event.ResOutputsEvent != nil:
		l.finish(event.ResOutputsEvent.Metadata, event.ResOutputsEvent.Planning)
	case event.ResOpFailedEvent != nil:
		l.fail(event.ResOpFailedEvent.Metadata)
	case event.DiagnosticEvent != nil:
		l.diagnostic(*event.DiagnosticEvent)
	case event.StdoutEvent != nil:
		l.print(heading, "%s", event.StdoutEvent.Message)
	case event.PolicyEvent != nil:
		policy := event.PolicyEvent
		l.print(below, "policy %s of %s (%s): %s: %s", policy.PolicyName, policy.PolicyPackName, policy.EnforcementLevel, l.name(policy.ResourceURN), policy.Message)
	case event.ProgressEvent != nil:
		l.download(*event.ProgressEvent)
	case event.ErrorEvent != nil:
		l.print(below, "%serror: %s%s", colors.SpecError, colors.Reset, event.ErrorEvent.Error)
	case event.SummaryEvent != nil:
		l.summary(*event.SummaryEvent)
	}
	l.line.Say("%s", l.waiting())
}

// waiting is what is waited for: the change that was begun last, as the others wait for it.
func (l *updateLog) waiting() string {
	if len(l.running) == 0 {
		return "the program runs"
	}
	last := l.running[len(l.running)-1]
	if last.status == "" {
		last.status = words(last.op).doing
	}
	return l.name(last.urn) + ": " + last.status
}

// start notes a change that begins. A preview only plans it.
func (l *updateLog) start(step apitype.StepEventMetadata, planning bool) {
	l.learnName(step)
	if !planning && !slices.Contains(unchanged, step.Op) {
		l.running = append(l.running, change{urn: step.URN, op: step.Op, begun: l.now()})
	}
}

// end removes a change from those under way.
func (l *updateLog) end(step apitype.StepEventMetadata) (change, bool) {
	i := slices.IndexFunc(l.running, func(c change) bool { return c.urn == step.URN && c.op == step.Op })
	if i < 0 {
		return change{}, false
	}
	ended := l.running[i]
	l.running = slices.Delete(l.running, i, i+1)
	return ended, true
}

func (l *updateLog) finish(step apitype.StepEventMetadata, planning bool) {
	l.learnName(step)
	ended, known := l.end(step)
	if planning {
		return
	}
	if known {
		op := words(step.Op)
		l.print(below, "%s%s %s %s%s", op.mark, colors.Reset, l.name(step.URN), op.done, l.since(ended.begun))
	}
	if urn.URN(step.URN).QualifiedType() == resource.RootStackType && step.Op != apitype.OpRefresh && step.New != nil {
		l.outputs(step)
	}
}

func (l *updateLog) fail(step apitype.StepEventMetadata) {
	l.learnName(step)
	took := ""
	if ended, known := l.end(step); known {
		took = l.since(ended.begun)
	}
	l.print(below, "%s✗%s %s: %s failed%s", colors.SpecError, colors.Reset, l.name(step.URN), words(step.Op).doing, took)
}

// outputs prints those of the stack that differ from before.
func (l *updateLog) outputs(step apitype.StepEventMetadata) {
	if step.Old == nil || len(step.Old.Outputs) == 0 {
		if count := len(step.New.Outputs); count > 0 {
			l.print(below, "%d outputs, which pulumi stack output shows", count)
		}
		return
	}
	for _, name := range slices.Sorted(maps.Keys(step.New.Outputs)) {
		before, after := step.Old.Outputs[name], step.New.Outputs[name]
		if !reflect.DeepEqual(before, after) {
			l.print(below, "output %s: %s, was %s", name, value(after), value(before))
		}
	}
}

// value is an output in one line.
func value(output any) string {
	if object, isObject := output.(map[string]any); isObject && object[resource.SigKey] == resource.SecretSig {
		return "[secret]"
	}
	text, err := json.Marshal(output)
	if err != nil {
		return fmt.Sprint(output)
	}
	return string(text)
}

func (l *updateLog) diagnostic(event apitype.DiagnosticEvent) {
	message := strings.TrimSpace(event.Message)
	if message == "" || event.Severity == "debug" {
		return
	}
	if event.Severity == "error" {
		l.failed = true
	}
	// What pulumi itself would not keep is how far a change has come.
	if event.Ephemeral {
		for i := range l.running {
			if l.running[i].urn == event.URN {
				l.running[i].status = message
			}
		}
		return
	}
	prefix := strings.TrimSpace(event.Prefix)
	switch event.Severity {
	case "error":
		prefix = colors.SpecError + prefix
	case "warning":
		prefix = colors.SpecWarning + prefix
	}
	text := message
	if event.URN != "" {
		text = l.name(event.URN) + ": " + text
	}
	if prefix != "" {
		text = prefix + colors.Reset + " " + text
	}
	if !l.said[text] {
		l.said[text] = true
		l.print(below, "%s", text)
	}
}

// download says once that a plugin is fetched, and that it was.
func (l *updateLog) download(event apitype.ProgressEvent) {
	text := event.Message + map[bool]string{false: ": begun", true: ": done"}[event.Done]
	if !l.said[text] {
		l.said[text] = true
		l.print(below, "%s", text)
	}
}

func (l *updateLog) summary(event apitype.SummaryEvent) {
	var counts []string
	for _, op := range slices.Sorted(maps.Keys(event.ResourceChanges)) {
		switch count := event.ResourceChanges[op]; {
		case count == 0 || op == apitype.OpSame:
		case event.IsPreview:
			counts = append(counts, fmt.Sprintf("%d %s", count, words(op).planned))
		default:
			counts = append(counts, fmt.Sprintf("%d %s", count, words(op).done))
		}
	}
	text := map[bool]string{true: "preview", false: "update"}[event.IsPreview]
	if l.failed {
		text += " failed"
	} else if same := event.ResourceChanges[apitype.OpSame]; same > 0 {
		counts = append(counts, fmt.Sprintf("%d unchanged", same))
	}
	if len(counts) > 0 {
		text += ": " + strings.Join(counts, ", ")
	}
	l.print(heading, "%s%s", text, l.since(l.begun))
}

func (l *updateLog) learnName(step apitype.StepEventMetadata) {
	for _, state := range []*apitype.StepEventStateMetadata{step.New, step.Old} {
		if state == nil {
			continue
		}
		if metadata, isObject := state.Inputs["metadata"].(map[string]any); isObject {
			if name, isText := metadata["name"].(string); isText {
				l.names[step.URN] = name
				return
			}
		}
	}
}

// name calls a resource what the cluster calls it: StatefulSet postgres.
func (l *updateLog) name(id string) string {
	u, err := urn.Parse(id)
	if err != nil {
		return id
	}
	name, known := l.names[id]
	if !known {
		name = u.Name()
	}
	kind := string(u.Type().Name())
	if strings.HasPrefix(string(u.Type()), "pulumi:providers:") {
		kind = "provider " + kind
	}
	return kind + " " + name
}

// since is how long something took, if that is worth a word.
func (l *updateLog) since(begun time.Time) string {
	took := l.now().Sub(begun)
	if took < 100*time.Millisecond {
		return ""
	}
	return " (" + progress.Duration(took) + ")"
}
