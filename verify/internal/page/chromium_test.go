package page

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"stateful-postgres/internal/required"
)

// requireVariable is the environment variable that turns a missing Chromium from a test that is left
// out into one that fails.
const requireVariable = "STATEFUL_POSTGRES_REQUIRE_CHROMIUM"

const (
	browserTimeout, endTimeout = time.Minute, 10 * time.Second
	// chromiumPath is where Debian has it.
	chromiumPath = "/usr/bin/chromium"
	// unasked is the number of what nobody waits for.
	unasked = 1_000_000_000
)

// chromium is a browser that is driven through two pipes, in the DevTools protocol: one JSON document
// after the other, each ended by a zero byte.
type chromium struct {
	t   *testing.T
	in  io.Writer
	out *os.File

	writing sync.Mutex
	mutex   sync.Mutex
	last    int
	waiting map[int]chan reply
	events  []event

	// left are the requests that left the browser.
	left *requests
}

type reply struct {
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Message string `json:"message"`
	} `json:"error"`
}

// event is something that the browser tells unasked.
type event struct {
	Session string          `json:"sessionId"`
	Method  string          `json:"method"`
	Params  json.RawMessage `json:"params"`
}

// needChromium starts a browser, which ends with the test. Without Chromium it leaves the test out,
// visibly, and fails it when requireVariable is set.
func needChromium(t *testing.T) *chromium {
	t.Helper()
	if _, err := os.Stat(chromiumPath); err != nil {
		required.Missing(t, requireVariable, fmt.Sprintf("no Chromium found: install it, on Debian with: apt-get install --no-install-recommends chromium: %v", err))
	}
	left := &requests{}
	proxy := httptest.NewServer(left)
	t.Cleanup(proxy.Close)

	theirIn, ourIn, err := os.Pipe()
	require.NoError(t, err)
	ourOut, theirOut, err := os.Pipe()
	require.NoError(t, err)
	// Not t.TempDir, which would fail the test when the browser still writes while it ends.
	profile, err := os.MkdirTemp("", "page-chromium-")
	require.NoError(t, err)
	command := exec.Command(chromiumPath, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars",
		"--disable-extensions", "--disable-default-apps", "--disable-features=NetworkTimeServiceQuerying",
		"--user-data-dir="+profile, "--remote-debugging-pipe",
		// Whatever leaves, also for this machine, comes to the proxy.
		"--proxy-server="+strings.TrimPrefix(proxy.URL, "http://"), "--proxy-bypass-list=<-loopback>", "about:blank")
	// The browser's HOME is its own, too.
	command.Env = append(os.Environ(), "HOME="+profile)
	command.ExtraFiles = []*os.File{theirIn, theirOut}
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var noise bytes.Buffer
	command.Stderr = &noise
	require.NoError(t, command.Start())
	require.NoError(t, theirIn.Close())
	require.NoError(t, theirOut.Close())

	b := &chromium{t: t, in: ourIn, out: ourOut, waiting: map[int]chan reply{}, left: left}
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.read()
	}()
	t.Cleanup(func() {
		// One that ends by itself leaves no process behind. All of them are a group.
		_ = b.tell(unasked, "", "Browser.close", nil)
		killed := time.AfterFunc(endTimeout, func() { _ = syscall.Kill(-command.Process.Pid, syscall.SIGKILL) })
		_ = command.Wait()
		killed.Stop()
		<-done
		require.NoError(t, ourIn.Close())
		require.NoError(t, ourOut.Close())
		_ = os.RemoveAll(profile)
		if t.Failed() {
			t.Logf("the browser said:\n%s", strings.Join(slices.DeleteFunc(strings.Split(noise.String(), "\n"), func(line string) bool {
				// It would like to talk to a desktop.
				return strings.Contains(line, "dbus")
			}), "\n"))
		}
	})
	return b
}

func (b *chromium) read() {
	reader := bufio.NewReader(b.out)
	for {
		text, err := reader.ReadBytes(0)
		if err != nil {
			b.mutex.Lock()
			defer b.mutex.Unlock()
			for _, answer := range b.waiting {
				close(answer)
			}
			b.waiting = nil
			return
		}
		var message struct {
			ID int `json:"id"`
			reply
			event
		}
		if json.Unmarshal(text[:len(text)-1], &message) != nil {
			continue
		}
		b.mutex.Lock()
		if message.ID == 0 {
			b.events = append(b.events, message.event)
			if message.Method == "Target.attachedToTarget" && message.Session != "" {
				go b.listen(message.event)
			}
		} else if answer := b.waiting[message.ID]; answer != nil {
			answer <- message.reply
			delete(b.waiting, message.ID)
		}
		b.mutex.Unlock()
	}
}

// tell writes what the browser is to do.
func (b *chromium) tell(id int, session, method string, asked any) error {
	text, err := json.Marshal(struct {
		ID      int    `json:"id"`
		Session string `json:"sessionId,omitempty"`
		Method  string `json:"method"`
		Params  any    `json:"params,omitempty"`
	}{id, session, method, asked})
	if err != nil {
		return err
	}
	b.writing.Lock()
	defer b.writing.Unlock()
	_, err = b.in.Write(append(text, 0))
	return err
}

// listen lets a frame that has a process of its own tell what happens in it, before it begins.
func (b *chromium) listen(attached event) {
	var frame struct{ SessionID string }
	if json.Unmarshal(attached.Params, &frame) != nil {
		return
	}
	for _, method := range []string{"Runtime.enable", "Log.enable", "Network.enable", "Runtime.runIfWaitingForDebugger"} {
		// Nobody waits for these answers. A browser that takes nothing any more fails the test elsewhere.
		_ = b.tell(unasked, frame.SessionID, method, nil)
	}
}

// call lets the browser do something.
func (b *chromium) call(t *testing.T, session, method string, asked, result any) {
	t.Helper()
	answer := make(chan reply, 1)
	b.mutex.Lock()
	require.NotNil(t, b.waiting, "%s: the browser has ended", method)
	b.last++
	id := b.last
	b.waiting[id] = answer
	b.mutex.Unlock()
	require.NoError(t, b.tell(id, session, method, asked))
	select {
	case got, open := <-answer:
		require.True(t, open, "%s: the browser has ended", method)
		require.Nil(t, got.Error, "%s: %+v", method, got.Error)
		if result != nil {
			require.NoError(t, json.Unmarshal(got.Result, result), method)
		}
	case <-time.After(browserTimeout):
		require.Fail(t, "no answer", "%s: none within %s", method, browserTimeout)
	}
}

// tab is one of the browser's.
type tab struct {
	browser *chromium
	session string
}

type params = map[string]any

// open opens a tab, which is closed with the test. What was seen before counts no more.
func (b *chromium) open(t *testing.T) *tab {
	t.Helper()
	b.mutex.Lock()
	b.events = nil
	b.mutex.Unlock()
	b.left.forget()
	var target struct{ TargetID string }
	b.call(t, "", "Target.createTarget", params{"url": "about:blank"}, &target)
	var attached struct{ SessionID string }
	b.call(t, "", "Target.attachToTarget", params{"targetId": target.TargetID, "flatten": true}, &attached)
	opened := &tab{b, attached.SessionID}
	t.Cleanup(func() { b.call(t, "", "Target.closeTarget", params{"targetId": target.TargetID}, nil) })
	for _, domain := range []string{"Page", "Runtime", "Log", "Network"} {
		opened.call(t, domain+".enable", nil, nil)
	}
	// What frames do counts, too; some have a process of their own.
	opened.call(t, "Target.setAutoAttach", params{"autoAttach": true, "waitForDebuggerOnStart": true, "flatten": true}, nil)
	return opened
}

func (p *tab) call(t *testing.T, method string, asked, result any) {
	t.Helper()
	p.browser.call(t, p.session, method, asked, result)
}

// screen sets how wide the screen is, and what the reader prefers.
func (p *tab) screen(t *testing.T, width int, scheme, media string) {
	t.Helper()
	p.call(t, "Emulation.setDeviceMetricsOverride", params{"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false}, nil)
	p.call(t, "Emulation.setEmulatedMedia", params{"media": media, "features": []params{{"name": "prefers-color-scheme", "value": scheme}}}, nil)
}

// load shows a page and waits until all of it is there.
func (p *tab) load(t *testing.T, html []byte) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "page.html")
	require.NoError(t, os.WriteFile(path, html, 0o644))
	before := len(p.browser.seen(p.session, "Page.loadEventFired"))
	p.call(t, "Page.navigate", params{"url": "file://" + path}, nil)
	require.Eventually(t, func() bool { return len(p.browser.seen(p.session, "Page.loadEventFired")) > before }, browserTimeout, 10*time.Millisecond)
}

// evaluate is what a script yields in the page.
func (p *tab) evaluate(t *testing.T, script string, result any) {
	t.Helper()
	var got struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails json.RawMessage
	}
	p.call(t, "Runtime.evaluate", params{"expression": script, "returnByValue": true, "awaitPromise": true}, &got)
	require.Empty(t, string(got.ExceptionDetails))
	require.NoError(t, json.Unmarshal(got.Result.Value, result))
}

// picture is the page as a PNG, all of it or a part.
func (p *tab) picture(t *testing.T, clip *rectangle) []byte {
	t.Helper()
	asked := params{"format": "png", "captureBeyondViewport": true}
	if clip != nil {
		asked["clip"] = params{"x": clip.X, "y": clip.Y, "width": clip.Width, "height": clip.Height, "scale": 1}
	}
	var got struct{ Data []byte }
	p.call(t, "Page.captureScreenshot", asked, &got)
	return got.Data
}

// screenful is what the screen shows of the page.
func (p *tab) screenful(t *testing.T) []byte {
	t.Helper()
	var got struct{ Data []byte }
	p.call(t, "Page.captureScreenshot", params{"format": "png"}, &got)
	return got.Data
}

type rectangle struct{ X, Y, Width, Height float64 }

// seen are the events of a kind in a tab; of all tabs and frames when it is not named.
func (b *chromium) seen(session, method string) []event {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	var some []event
	for _, e := range b.events {
		if e.Method == method && (session == "" || e.Session == session) {
			some = append(some, e)
		}
	}
	return some
}

// complaints are all errors and warnings that the browser has shown about pages: exceptions, what was
// printed on the console, and what a page was not allowed to do.
func (b *chromium) complaints() []string {
	var all []string
	for _, method := range []string{"Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"} {
		for _, e := range b.seen("", method) {
			all = append(all, method+" "+string(e.Params))
		}
	}
	return all
}

// loaded is what pages and their frames have asked for, without what is in the page itself.
func (b *chromium) loaded(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, e := range b.seen("", "Network.requestWillBeSent") {
		var asked struct{ Request struct{ URL string } }
		require.NoError(t, json.Unmarshal(e.Params, &asked))
		if !strings.HasPrefix(asked.Request.URL, "data:") {
			all = append(all, asked.Request.URL)
		}
	}
	return all
}

// requests is a proxy that lets nothing through, and notes what was to go there.
type requests struct {
	mutex sync.Mutex
	all   []string
}

// browsersOwn is where Chromium itself would like to go, whatever page it shows. What a page would load
// from there is seen as an event.
var browsersOwn = []string{".google.com", ".googleapis.com", ".gvt1.com"}

func (r *requests) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	host, _, _ := strings.Cut(request.Host, ":")
	if !slices.ContainsFunc(browsersOwn, func(domain string) bool { return strings.HasSuffix(host, domain) }) {
		r.all = append(r.all, request.Method+" "+request.RequestURI)
	}
	http.Error(w, "this machine has no network", http.StatusBadGateway)
}

func (r *requests) forget() {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.all = nil
}

// list is what was noted.
func (r *requests) list() []string {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return slices.Clone(r.all)
}
