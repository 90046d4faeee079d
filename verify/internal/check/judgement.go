package check

import (
	"fmt"
	"slices"
	"strings"

	"stateful-postgres/internal/contract"
	"stateful-postgres/verify/internal/kubernetes"
	"stateful-postgres/verify/internal/report"
	"stateful-postgres/verify/internal/server"
)

// What a server is.
const (
	rolePrimary = contract.RolePrimary
	roleStandby = "standby"
)

// judgement is what a view of several servers amounts to.
type judgement struct {
	checks []report.Check
	// waiting is what may be otherwise in a moment; empty when there is nothing. serious says that the
	// verdict depends on it.
	waiting string
	serious bool
}

func (j *judgement) add(name string, status report.Status, detail, hint string) {
	j.checks = append(j.checks, report.Check{Name: name, Status: status, Detail: detail, Hint: hint})
}

// await adds what may be otherwise in a moment.
func (j *judgement) await(name string, status report.Status, detail, hint string) {
	if j.waiting == "" {
		j.waiting = detail
	}
	j.serious = j.serious || status != report.Warning
	j.add(name, status, detail, hint)
}

// judge holds the servers against what they promise. It looks at nothing but the view.
func (v *view) judge() judgement {
	j := &judgement{}
	v.judgePrimary(j)
	for i, described := range v.describe() {
		v.judgeMember(j, v.members[i], described)
	}
	v.judgeIdentity(j)
	v.judgeTimelines(j)
	v.judgeSynchronous(j)
	v.judgeServices(j)
	v.judgeAgreement(j)
	return *j
}

// judgePrimary wants exactly one server that takes the writes, and the connection to lead to it.
func (v *view) judgePrimary(j *judgement) {
	var primaries, unseen []string
	for _, member := range v.members {
		switch {
		case member.state == nil:
			unseen = append(unseen, member.pod.Name)
		case !member.state.InRecovery:
			primaries = append(primaries, fmt.Sprintf("%s (timeline %d)", member.pod.Name, member.state.Timeline))
		}
	}
	pod := v.primaryPod()
	outside := pod == "" && !v.primary.InRecovery
	switch {
	case len(primaries) > 1:
		j.await("primary", report.Violated, fmt.Sprintf("%d servers take writes: %s", len(primaries), enumerate(primaries)),
			"stop the one that the ConfigMap "+contract.MembersLeader+" does not name, before clients write to both")
	case outside && len(unseen) == 0 && len(primaries) == 1:
		j.await("primary", report.Violated, fmt.Sprintf("2 servers take writes: %s, and another one, none of the pods, to which the connection for clients leads", primaries[0]), "")
	case outside && len(unseen) == 0:
		j.await("primary", report.Violated, "the server that takes the writes is in none of the pods", "which one is behind the address?")
	case v.primary.InRecovery:
		j.await("primary", report.Unknown, "the connection for clients leads to a standby", "see: kubectl get pods -L "+contract.LabelRole)
	case len(unseen) > 0:
		j.add("primary", statusUnseen(v), fmt.Sprintf("%s takes the writes; %s could not be asked whether it does as well", orNone([]string{pod}), enumerate(unseen)), "")
	default:
		j.add("primary", report.Passed, fmt.Sprintf("%s alone takes the writes, on timeline %d", pod, v.primary.Timeline), "")
	}
}

// statusUnseen is a warning where this user may not ask, else what could not be asked is unknown.
func statusUnseen(v *view) report.Status {
	for _, member := range v.members {
		if member.state == nil && !mayNot(member.unseen) {
			return report.Unknown
		}
	}
	return report.Warning
}

// judgeMember says what one server is, and where.
func (v *view) judgeMember(j *judgement, member memberView, described report.Member) {
	pod := member.pod.Name
	where := ""
	if described.Claim != "" {
		where = fmt.Sprintf("; claim %s, volume %s", described.Claim, described.Volume)
	}
	switch {
	case member.state == nil && mayNot(member.unseen):
		j.add("member", report.Warning, fmt.Sprintf("%s could not be asked: this user may not forward its port%s", pod, where), "have create on pods/portforward allowed")
		return
	case member.state == nil:
		j.await("member", report.Unknown, fmt.Sprintf("%s could not be asked: %s%s", pod, server.Met(member.unseen), where), "")
		return
	case !member.state.InRecovery:
		j.add("member", report.Passed, fmt.Sprintf("%s: primary, timeline %d, position %s%s", pod, member.state.Timeline, member.state.LSN, where), "")
		return
	}
	state := described.SyncState
	if state == "" {
		state = "not streaming"
	}
	detail := fmt.Sprintf("%s: standby, %s, timeline %d, replayed %s, %s behind", pod, state, member.state.Timeline, member.state.LSN, report.Plural(*described.LagBytes, "byte"))
	slot, there := v.primary.Slots[server.SlotName(pod)]
	switch {
	case !there:
		j.await("member", report.Warning, fmt.Sprintf("%s; no replication slot %s%s", detail, server.SlotName(pod), where), "what it still needs of the log may be removed before it has it; it is then copied anew")
	case slot.WALStatus == "lost":
		j.add("member", report.Warning, fmt.Sprintf("%s; slot %s has lost the log that it still needs%s", detail, described.Slot, where), "it is copied anew: see its log")
	case !slot.Active:
		j.await("member", report.Warning, fmt.Sprintf("%s; slot %s is not in use%s", detail, described.Slot, where), "")
	default:
		j.add("member", report.Passed, fmt.Sprintf("%s; slot %s%s", detail, described.Slot, where), "")
	}
}

// judgeIdentity wants all servers to be copies of the same database.
func (v *view) judgeIdentity(j *judgement) {
	var others []string
	same := 0
	for _, member := range v.members {
		switch {
		case member.state == nil || member.state.SystemIdentifier == "" || v.primary.SystemIdentifier == "":
		case member.state.SystemIdentifier == v.primary.SystemIdentifier:
			same++
		default:
			others = append(others, fmt.Sprintf("%s has the system_identifier %s", member.pod.Name, member.state.SystemIdentifier))
		}
	}
	switch {
	case len(others) > 0:
		j.add("one database", report.Violated, fmt.Sprintf("%s; that of the primary is %s", strings.Join(others, ", "), v.primary.SystemIdentifier),
			"its volume holds another database: keep a copy of it before it is exchanged")
	case same == len(v.members):
		j.add("one database", report.Passed, "all have the system_identifier "+v.primary.SystemIdentifier, "")
	case same > 0:
		j.add("one database", report.Passed, "those that could be asked have the system_identifier "+v.primary.SystemIdentifier, "")
	}
}

// judgeTimelines wants all standbys to follow the primary's timeline.
func (v *view) judgeTimelines(j *judgement) {
	var elsewhere, nowhere, hidden []string
	followers := 0
	for _, member := range v.members {
		switch {
		case member.state == nil || !member.state.InRecovery:
		case member.state.Hidden:
			hidden = append(hidden, member.pod.Name)
		case member.state.Timeline == 0:
			nowhere = append(nowhere, member.pod.Name)
		case member.state.Timeline != v.primary.Timeline:
			elsewhere = append(elsewhere, fmt.Sprintf("%s follows timeline %d", member.pod.Name, member.state.Timeline))
		default:
			followers++
		}
	}
	switch {
	case len(elsewhere) > 0:
		j.await("timelines", report.Violated, fmt.Sprintf("%s; the primary's is %d", strings.Join(elsewhere, ", "), v.primary.Timeline), "see the log of that pod")
	case len(nowhere) > 0:
		j.await("timelines", report.Unknown, fmt.Sprintf("%s receives no log of the primary, so that its timeline is not known", enumerate(nowhere)), "see the log of that pod")
	case len(hidden) > 0:
		j.add("timelines", report.Warning, "this role may not see which timeline "+enumerate(hidden)+" receives", "grant the role pg_monitor to see it")
	case followers > 0:
		j.add("timelines", report.Passed, fmt.Sprintf("%s %d", map[bool]string{true: "the standby follows timeline", false: "all standbys follow timeline"}[followers == 1], v.primary.Timeline), "")
	}
}

// judgeSynchronous wants as many synchronous standbys as are promised. With fewer nothing that is
// acknowledged is in danger as long as commits wait for one: then it is a warning, and the rows that
// are written show whether they are acknowledged at all. A primary that acknowledges by itself breaks
// the promise.
func (v *view) judgeSynchronous(j *judgement) {
	replicas, agreement := specReplicas(v.observed), v.observed.Agreement
	if replicas < 2 {
		return
	}
	known := agreement != nil && agreement.Knows(contract.MembersConfig) && agreement.Wrong == ""
	promised := 1
	if known {
		promised = min(agreement.Count, replicas-1)
	}
	var standbys, strangers []string
	hidden := false
	for _, stream := range v.primary.Streams {
		hidden = hidden || stream.State == ""
		switch {
		case stream.SyncState != "sync" && stream.SyncState != "quorum":
		case v.observed.Pod(stream.Name) == nil:
			strangers = append(strangers, stream.Name)
		case stream.State == "streaming" && !slices.Contains(standbys, stream.Name):
			standbys = append(standbys, stream.Name)
		}
	}
	slices.Sort(standbys)
	have := fmt.Sprintf("%s of %d promised", report.Plural(int64(len(standbys)), "synchronous standby"), promised)
	if len(standbys) > 0 {
		have += ": " + enumerate(standbys)
	}
	switch {
	case known && !agreement.Synchronous:
		j.await("synchronous", report.Violated, fmt.Sprintf("commits wait for no standby: synchronous_mode is off in ConfigMap %s", contract.MembersConfig), "run: pulumi up --refresh")
	case len(standbys) >= promised:
		j.add("synchronous", report.Passed, "commits wait for "+have, "")
	case hidden:
		j.add("synchronous", report.Warning, "this role may not see how far the standbys are", "grant the role pg_monitor to see it")
	case len(standbys) == 0 && known && !agreement.Strict:
		j.await("synchronous", report.Violated, have+", and the primary acknowledges commits by itself: what it acknowledges is on one volume alone", "run: pulumi up --refresh; see the logs of the standbys")
	case len(standbys) == 0 && !known:
		j.await("synchronous", report.Unknown, have+"; whether commits wait for one could not be seen", "")
	case len(standbys) == 0:
		j.await("synchronous", report.Warning, have+": commits wait until there is one", "see the logs of the standbys")
	default:
		j.await("synchronous", report.Warning, have+": what is acknowledged is on fewer volumes", "see the logs of the other standbys")
	}
	if len(strangers) > 0 {
		j.add("synchronous", report.Warning, fmt.Sprintf("%s, none of the servers, receives the log and counts as a synchronous standby: a commit may be acknowledged with no other copy", enumerate(strangers)),
			"give it an application_name of its own, or let it end")
	}
}

// judgeServices wants the Services to lead to exactly the servers that they are for.
func (v *view) judgeServices(j *judgement) {
	var standbys []string
	for i := range v.members {
		member := &v.members[i]
		standby := kubernetes.Role(member.pod) == contract.RoleReplica
		if member.state != nil {
			standby = member.state.InRecovery
		}
		if standby && kubernetes.IsReady(member.pod) {
			standbys = append(standbys, member.pod.Name)
		}
	}
	slices.Sort(standbys)
	v.judgeService(j, v.observed.Objects.Service, []string{v.writer()}, "the primary")
	v.judgeService(j, v.observed.Objects.Replicas, standbys, "the standbys that are ready")
}

func (v *view) judgeService(j *judgement, name string, expected []string, what string) {
	if name == "" {
		return
	}
	service := v.observed.Services[name]
	if service == nil {
		j.add("Service", report.Unknown, name+" does not exist", "run: pulumi up --refresh")
		return
	}
	actual := v.observed.EndpointPods(name)
	if slices.Equal(actual, expected) {
		detail := fmt.Sprintf("%s leads to %s", name, orNone(actual))
		if len(actual) > 0 {
			detail += ", " + what
		}
		j.add("Service", report.Passed, detail, "")
		return
	}
	j.await("Service", report.Violated, fmt.Sprintf("%s leads to %s, expected %s: %s", name, orNone(actual), orNone(expected), what), "see: kubectl get pods -L "+contract.LabelRole)
}

func orNone(names []string) string {
	if len(names) == 0 || slices.Equal(names, []string{""}) {
		return "no pod"
	}
	return enumerate(names)
}

// judgeAgreement compares what the ConfigMaps say with what the servers do. Those that may not be read
// say nothing about the servers.
func (v *view) judgeAgreement(j *judgement) {
	agreement := v.observed.Agreement
	if agreement == nil {
		return
	}
	if len(agreement.Unseen) > 0 {
		j.add("agreement", report.Warning, fmt.Sprintf("this user may not read the ConfigMaps %s: what the servers agree on could not be seen", enumerate(agreement.Unseen)), "have get on them allowed")
	}
	if len(agreement.Missing) > 0 {
		j.await("agreement", report.Warning, fmt.Sprintf("the ConfigMaps %s do not exist", enumerate(agreement.Missing)), "run: pulumi up --refresh")
	}
	if agreement.Wrong != "" {
		j.add("agreement", report.Warning, agreement.Wrong, "run: pulumi up --refresh")
	}
	pod := v.writer()
	leads, trusted := agreement.Knows(contract.MembersLeader), agreement.Knows(contract.MembersSync)
	switch {
	case leads && agreement.Leader != pod:
		j.await("agreement", report.Unknown, fmt.Sprintf("%s takes the writes, and ConfigMap %s names %s", orNone([]string{pod}), contract.MembersLeader, orNone([]string{agreement.Leader})), "see the logs of both pods")
	case trusted && agreement.SyncLeader != pod:
		j.await("agreement", report.Unknown, fmt.Sprintf("%s takes the writes, and ConfigMap %s, which says who has all of them, names %s: at the next failover one could win that lacks some",
			orNone([]string{pod}), contract.MembersSync, orNone([]string{agreement.SyncLeader})), "see the log of the primary's pod")
	case leads && trusted:
		j.add("agreement", report.Passed, fmt.Sprintf("after %s the writes go to %s", pod, orNobodyElse(agreement.Standbys)), "")
	}
}

// orNobodyElse are those who may take the writes next.
func orNobodyElse(standbys []string) string {
	if len(standbys) == 0 {
		return "nobody else: no other server has every acknowledged one for certain"
	}
	return strings.Join(standbys, " or ")
}
