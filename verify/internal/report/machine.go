package report

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"strings"
)

// JSON prints the whole report as one JSON document, once it is finished.
type JSON struct {
	Out io.Writer
	// Line prints it without line breaks.
	Line bool
}

// Header does nothing: the document is printed whole.
func (j JSON) Header(Target) {}

// Check does nothing: the document is printed whole.
func (j JSON) Check(Check) {}

// Finish prints the report.
func (j JSON) Finish(r *Report) error {
	encoder := json.NewEncoder(j.Out)
	encoder.SetEscapeHTML(false)
	if !j.Line {
		encoder.SetIndent("", "  ")
	}
	return encoder.Encode(r)
}

// JUnit prints the report in the XML that continuous integration systems read: a test suite a
// section, a test case a check.
type JUnit struct{ Out io.Writer }

// Header does nothing: the document is printed whole.
func (j JUnit) Header(Target) {}

// Check does nothing: the document is printed whole.
func (j JUnit) Check(Check) {}

type junitSuites struct {
	XMLName  xml.Name     `xml:"testsuites"`
	Name     string       `xml:"name,attr"`
	Tests    int          `xml:"tests,attr"`
	Failures int          `xml:"failures,attr"`
	Errors   int          `xml:"errors,attr"`
	Skipped  int          `xml:"skipped,attr"`
	Time     string       `xml:"time,attr"`
	Suites   []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Errors   int         `xml:"errors,attr"`
	Skipped  int         `xml:"skipped,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Class   string        `xml:"classname,attr"`
	Name    string        `xml:"name,attr"`
	Time    string        `xml:"time,attr"`
	Failure *junitMessage `xml:"failure,omitempty"`
	Error   *junitMessage `xml:"error,omitempty"`
	Skipped *junitMessage `xml:"skipped,omitempty"`
	Out     string        `xml:"system-out,omitempty"`
}

type junitMessage struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

// Finish prints the report. What was violated is a failure, what could not be told an error.
func (j JUnit) Finish(r *Report) error {
	suites := junitSuites{Name: "verify " + r.Command, Time: seconds(r.DurationMS)}
	verdict := Check{Section: "Verdict", Name: "verdict", Detail: r.Summary, DurationMS: r.DurationMS, Status: map[Verdict]Status{
		Proven: Passed, NotKept: Violated, NotProven: Unknown,
	}[r.Verdict]}
	for _, check := range append(r.Checks[:len(r.Checks):len(r.Checks)], verdict) {
		suites.add(r.Command, check)
	}
	if _, err := io.WriteString(j.Out, xml.Header); err != nil {
		return err
	}
	encoder := xml.NewEncoder(j.Out)
	encoder.Indent("", "  ")
	if err := encoder.Encode(suites); err != nil {
		return err
	}
	_, err := io.WriteString(j.Out, "\n")
	return err
}

func (s *junitSuites) add(command string, check Check) {
	if len(s.Suites) == 0 || s.Suites[len(s.Suites)-1].Name != check.Section {
		s.Suites = append(s.Suites, junitSuite{Name: check.Section})
	}
	suite := &s.Suites[len(s.Suites)-1]
	entry := junitCase{Class: "verify." + command + "." + strings.ToLower(check.Section), Name: check.Name, Time: seconds(check.DurationMS)}
	lines := []string{check.Detail}
	for _, row := range check.Rows {
		lines = append(lines, row.String())
	}
	if check.Hint != "" {
		lines = append(lines, check.Hint)
	}
	message := &junitMessage{Message: check.Detail, Text: strings.Join(lines, "\n")}
	s.Tests++
	suite.Tests++
	switch check.Status {
	case Violated:
		entry.Failure = message
		s.Failures++
		suite.Failures++
	case Unknown:
		entry.Error = message
		s.Errors++
		suite.Errors++
	case Skipped:
		entry.Skipped = message
		s.Skipped++
		suite.Skipped++
	default:
		entry.Out = strings.Join(lines, "\n")
	}
	suite.Cases = append(suite.Cases, entry)
}

func seconds(milliseconds int64) string {
	return fmt.Sprintf("%d.%03d", milliseconds/1000, milliseconds%1000)
}
