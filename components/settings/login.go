package settings

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"stateful-postgres/components/problem"
	"stateful-postgres/internal/saslprep"
)

const (
	// maxIdentifierLength is PostgreSQL's NAMEDATALEN - 1, in bytes. A longer
	// name is cut off without an error.
	maxIdentifierLength = 63

	// maxPasswordLength is where clients begin to differ in what they accept.
	maxPasswordLength = 1024
)

// identifier is what needs no quotes in a shell, a URL or a command line. In SQL
// the component quotes every name, so that MyShop is not taken for myshop.
var identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*$`)

var expectedIdentifier = fmt.Sprintf("at most %d letters of a to z and A to Z, digits, underscores and hyphens, beginning with a letter or underscore",
	maxIdentifierLength)

// Names that have a meaning of their own in pg_hba.conf or in the server.
var (
	reservedDatabases = []string{"all", "replication", "sameuser", "samerole", "samegroup", "template0", "template1"}
	reservedRoles     = []string{"all", "none", "public"}
)

func checkDatabase(_ Args, name string) *problem.Problem {
	return checkName("database", name, slices.Contains(reservedDatabases, name))
}

func checkUser(_ Args, name string) *problem.Problem {
	return checkName("user", name, slices.Contains(reservedRoles, name) || strings.HasPrefix(name, "pg_"))
}

func checkName(setting, name string, reserved bool) *problem.Problem {
	switch {
	case len(name) > maxIdentifierLength || !identifier.MatchString(name):
		return problem.New(setting, name, expectedIdentifier, problem.SetTo(setting, "codewizard"))
	case reserved:
		return problem.New(setting, name, "a name that PostgreSQL does not use itself", problem.SetTo(setting, "codewizard"))
	}
	return nil
}

// PasswordProblem says what is wrong with a password, never the password itself.
// It is not in the table because a password may be an output, which is known
// only later.
func PasswordProblem(password string) *problem.Problem {
	wrong := ""
	switch {
	case password == "":
		wrong = "an empty one"
	case !utf8.ValidString(password):
		wrong = "one that is not valid UTF-8"
	case strings.ContainsFunc(password, unicode.IsControl):
		wrong = "one with a line break or another control character"
	case len(password) > maxPasswordLength:
		wrong = fmt.Sprintf("one of %d bytes", len(password))
	case saslprep.Map(password) != password:
		// psql sends what SASLprep makes of it (RFC 4013), and some clients send it
		// as it is: with one of them it could not log in.
		wrong = "one with a character that some clients replace before they log in, like ª, Ⅸ or an invisible one"
	default:
		return nil
	}
	return &problem.Problem{
		Setting:  "password",
		Got:      wrong,
		Expected: fmt.Sprintf("1 to %d bytes of UTF-8 without control characters", maxPasswordLength),
		Remedies: []problem.Remedy{
			problem.ChoosingSecret("password", "set another one"),
			problem.Removing("password", "have one generated"),
		},
	}
}
