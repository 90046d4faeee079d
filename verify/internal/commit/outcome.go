// Package commit runs transactions whose outcome matters and says what is known about it
// afterwards: committed, not committed, or unknown.
package commit

import (
	"errors"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Outcome is what a client knows about a transaction once it is over.
type Outcome int

// The outcomes. Unknown is the zero value: nothing may be concluded from not having looked.
const (
	// Unknown: the transaction may or may not be committed.
	Unknown Outcome = iota
	// Acknowledged: the server said that the transaction is committed and durable.
	Acknowledged
	// AcknowledgedLocally: committed on this server, but the wait for its synchronous standby
	// was given up, so a failover may lose it.
	AcknowledgedLocally
	// Failed: the transaction is not committed and never will be.
	Failed
)

func (o Outcome) String() string {
	switch o {
	case Acknowledged:
		return "acknowledged"
	case AcknowledgedLocally:
		return "acknowledged locally"
	case Failed:
		return "failed"
	default:
		return "unknown"
	}
}

// Stage is how far an explicit transaction had come when its error was seen.
type Stage int

const (
	// BeforeCommit: not a byte of COMMIT left this machine, so the server rolls back.
	BeforeCommit Stage = iota
	// AtCommit: COMMIT was sent, or at least a part of it.
	AtCommit
)

// Classify says what an error, or none, proves about an explicit transaction. The order of the
// questions matters: each one is only asked once the earlier ones are answered with no.
//
// pgconn.SafeToRetry is not among them: in pgx 5.12.0 it is true as well when the connection
// breaks while the answer to COMMIT is awaited (the error is then "conn closed"), which would
// take a commit that may well have happened for one that did not. What it stands for, nothing
// was sent, is a fact that the session observes at the socket and passes on as the stage.
func Classify(stage Stage, err error, notices []*pgconn.Notice) Outcome {
	var serverError *pgconn.PgError
	switch {
	case stage == BeforeCommit && err != nil:
		return Failed
	case stage == BeforeCommit:
		return Unknown
	case err == nil && standbyWaitGivenUp(notices):
		return AcknowledgedLocally
	case err == nil:
		return Acknowledged
	case errors.Is(err, pgx.ErrTxCommitRollback):
		return Failed
	case errors.As(err, &serverError) && rolledBack(serverError):
		return Failed
	default:
		return Unknown
	}
}

// rolledBack says whether an error in answer to COMMIT proves that nothing was committed. An
// ERROR does: it aborts the transaction. The classes left out are about the connection or an
// operator's intervention (08, 57), which can come after the commit record is written, and
// 40003 is statement_completion_unknown by name. FATAL and PANIC end the session at a point
// that the client cannot know.
func rolledBack(err *pgconn.PgError) bool {
	severity := err.SeverityUnlocalized
	if severity == "" {
		// Servers before 9.6 send the localized severity only.
		severity = err.Severity
	}
	return severity == "ERROR" &&
		!strings.HasPrefix(err.Code, "08") && !strings.HasPrefix(err.Code, "57") && err.Code != "40003"
}

// standbyWaitGivenUp finds the warning of syncrep.c. Its text is localized, the name of the
// function that raised it is not.
func standbyWaitGivenUp(notices []*pgconn.Notice) bool {
	for _, notice := range notices {
		if notice.Routine == "SyncRepWaitForLSN" ||
			strings.HasPrefix(notice.Message, "canceling wait for synchronous replication") {
			return true
		}
	}
	return false
}
