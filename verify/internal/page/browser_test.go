package page

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"image"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"

	"stateful-postgres/verify/internal/history"
	"stateful-postgres/verify/internal/report"
)

// screenshots is where pictures of all pages go, for those who change how they look.
var screenshots = flag.String("screenshots", "", "folder for pictures of the pages that the browser shows")

// probe looks at a page from within. Colours are those that are there in the end: of a text, and of what
// is behind it.
const probe = `(() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const color = (css) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = css;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const over = (top, below) => top.slice(0, 3).map((c, i) => c * top[3] / 255 + below[i] * (1 - top[3] / 255)).concat(255);
  const luminance = (c) => {
    const [r, g, b] = c.map((x) => (x /= 255) <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (e) => {
    const layers = [];
    for (; e; e = e.parentElement) layers.push(color(getComputedStyle(e).backgroundColor));
    return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255, 255]);
  };
  const visible = (e) => e.checkVisibility({ visibilityProperty: true }) && e.getBoundingClientRect().width > 0;
  const texts = [...document.body.querySelectorAll("*")].filter((e) => !["SCRIPT", "STYLE", "title", "desc"].includes(e.tagName) &&
    [...e.childNodes].some((n) => n.nodeType === Node.TEXT_NODE && n.textContent.trim()) && visible(e));
  const pale = [];
  for (const e of texts) {
    const style = getComputedStyle(e), ground = behind(e);
    const ink = over(color(e instanceof SVGElement ? style.fill : style.color), ground);
    const [light, dark] = [luminance(ink), luminance(ground)].sort((a, b) => b - a);
    const contrast = (light + 0.05) / (dark + 0.05);
    if (contrast < 4.5 || style.opacity !== "1") pale.push(e.textContent.trim().slice(0, 40) + " " + contrast.toFixed(2));
  }
  const svg = document.getElementById("timeline");
  const letters = [...svg.querySelectorAll("text")].filter(visible).map((e) => [e.textContent, e.getBoundingClientRect()]);
  const overlapping = [], outside = [];
  letters.forEach(([text, a], i) => {
    for (const [other, b] of letters.slice(i + 1))
      if (a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 3 && b.top < a.bottom - 3) overlapping.push(text + " | " + other);
    if (!svg.closest(".scroll") && (a.left < 0 || a.right > document.documentElement.clientWidth)) outside.push(text);
  });
  const box = svg.getBoundingClientRect();
  const root = document.documentElement;
  const ancestors = function* (e) { while ((e = e.parentElement)) yield e; };
  const wide = [...document.body.querySelectorAll("*")].filter((e) =>
     ![...ancestors(e)].some((a) => getComputedStyle(a).overflowX === "auto") && e.getBoundingClientRect().right > root.clientWidth + 0.5)
    .map((e) => e.tagName + "." + (e.className.baseVal ?? e.className) + " " + e.textContent.trim().slice(0, 30));
  return {
    wide, scrollWidth: root.scrollWidth, clientWidth: root.clientWidth, texts: texts.length, pale, overlapping, outside,
    labels: [...svg.querySelectorAll("text.label")].filter(visible).length,
    paper: luminance(behind(document.body)),
    timeline: { x: box.x + scrollX, y: box.y + scrollY, width: box.width, height: box.height },
    resources: performance.getEntriesByType("resource").map((e) => e.name),
  };
})()`

type probed struct {
	ScrollWidth, ClientWidth, Texts, Labels     int
	Wide, Pale, Overlapping, Outside, Resources []string
	// Paper is how light the page is, from 0 to 1.
	Paper    float64
	Timeline rectangle
}

func rendered(t *testing.T, h *history.History, r *report.Report, extras ...Extra) []byte {
	t.Helper()
	var out bytes.Buffer
	require.NoError(t, Render(&out, h, r, extras...))
	return out.Bytes()
}

func TestPageInBrowser(t *testing.T) {
	t.Parallel()
	browser := needChromium(t)
	for name, look := range map[string]func(*testing.T, *chromium){
		"tests see what is wrong":           seesWhatIsWrong,
		"the pointer says what was there":   saysWhatIsUnderThePointer,
		"all is there without scripts":      isCompleteWithoutScripts,
		"it is printed":                     isPrinted,
		"a picture of operations is drawn":  drawsOperations,
		"an extra page is shown in a frame": showsExtraInFrame,
	} {
		t.Run(name, func(t *testing.T) { look(t, browser) })
	}
	for name, made := range variants {
		t.Run(name, func(t *testing.T) {
			h, r := made()
			looksWellOnAnyScreen(t, browser, name, h, r)
		})
	}
}

func looksWellOnAnyScreen(t *testing.T, browser *chromium, name string, h *history.History, r *report.Report) {
	tab := browser.open(t)
	tab.screen(t, 1280, "light", "screen")
	tab.load(t, rendered(t, h, r))
	for _, width := range []int{400, 640, 1023, 1280, 1800} {
		schemes := []string{"light"}
		if width == 400 || width == 1280 {
			schemes = []string{"light", "dark"}
		}
		for _, scheme := range schemes {
			at := fmt.Sprintf("%d pixels, %s", width, scheme)
			tab.screen(t, width, scheme, "screen")
			var seen probed
			tab.evaluate(t, probe, &seen)
			if *screenshots != "" {
				keep(t, fmt.Sprintf("%s-%d-%s.png", name, width, scheme), tab.picture(t, nil))
			}
			require.Equal(t, width, seen.ClientWidth, at)
			require.LessOrEqual(t, seen.ScrollWidth, seen.ClientWidth, "%s: the page is wider than the screen: %s", at, seen.Wide)
			require.Greater(t, seen.Texts, 100, at)
			require.Empty(t, seen.Pale, "%s: text that is hard to read", at)
			require.Empty(t, seen.Overlapping, "%s: letters of the picture that lie on each other", at)
			require.Empty(t, seen.Outside, "%s: letters of the picture that are cut off", at)
			require.GreaterOrEqual(t, seen.Labels, min(len(h.Faults), 3), at)
			require.Empty(t, seen.Resources, at)
			require.Greater(t, seen.Timeline.Width, 0.85*float64(min(width, 1248)-64), at)
			require.Greater(t, seen.Timeline.Height, 500.0, at)
			if len(schemes) > 1 {
				requireDrawn(t, tab.picture(t, &seen.Timeline), seen.Timeline, at)
			}
			if scheme == "light" {
				require.Greater(t, seen.Paper, 0.8, at)
			} else {
				require.Less(t, seen.Paper, 0.05, at)
			}
		}
	}
	requireQuiet(t, browser)
}

// requireQuiet finds that the browser has complained about nothing, and that nothing has left it.
func requireQuiet(t *testing.T, browser *chromium) {
	t.Helper()
	require.Empty(t, browser.complaints())
	requireNothingLoaded(t, browser)
}

func requireNothingLoaded(t *testing.T, browser *chromium) {
	t.Helper()
	loaded := browser.loaded(t)
	require.Len(t, loaded, 1, "the page itself")
	require.True(t, strings.HasPrefix(loaded[0], "file://"), loaded)
	require.Empty(t, browser.left.list())
}

// requireDrawn finds in a picture what has to be there: a ground, and enough that differs from it.
func requireDrawn(t *testing.T, text []byte, want rectangle, at string) {
	t.Helper()
	picture, err := png.Decode(bytes.NewReader(text))
	require.NoError(t, err, at)
	bounds := picture.Bounds()
	require.InDelta(t, want.Width, bounds.Dx(), 2, at)
	colors := colorsOf(picture)
	most, all := 0, 0
	for _, n := range colors {
		most, all = max(most, n), all+n
	}
	require.Greater(t, len(colors), 60, "%s: so few colours are hardly a picture", at)
	require.Greater(t, 1-float64(most)/float64(all), 0.12, "%s: all but this share is empty", at)
}

func colorsOf(picture image.Image) map[[3]uint32]int {
	colors := map[[3]uint32]int{}
	bounds := picture.Bounds()
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			r, g, b, _ := picture.At(x, y).RGBA()
			colors[[3]uint32{r >> 8, g >> 8, b >> 8}]++
		}
	}
	return colors
}

func keep(t *testing.T, name string, text []byte) {
	t.Helper()
	require.NoError(t, os.MkdirAll(*screenshots, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(*screenshots, name), text, 0o644))
}

func saysWhatIsUnderThePointer(t *testing.T, browser *chromium) {
	h, r := sample()
	tab := browser.open(t)
	tab.screen(t, 1280, "light", "screen")
	tab.load(t, rendered(t, h, r))
	var at rectangle
	tab.evaluate(t, `(() => { document.getElementById("time").scrollIntoView();
		const { x, y, width, height } = document.querySelector("#timeline .ground").getBoundingClientRect(); return { x, y, width, height } })()`, &at)
	fault := h.Faults[3]
	part := float64(fault.BeganMS+fault.RecoveredMS) / 2 / float64(h.DurationMS)
	tab.call(t, "Input.dispatchMouseEvent", params{"type": "mouseMoved", "x": at.X + part*at.Width, "y": at.Y + 100}, nil)
	said := func() string {
		var text string
		tab.evaluate(t, `document.getElementById("readout").innerText`, &text)
		return text
	}
	require.Eventually(t, func() bool { return strings.Contains(said(), "fault 4 "+fault.Kind) }, browserTimeout, 10*time.Millisecond)
	require.Contains(t, said(), "commits a second")

	// The keyboard does the same.
	before := said()
	tab.evaluate(t, `(() => { document.getElementById("moment").focus(); return true })()`, new(bool))
	for _, kind := range []string{"keyDown", "keyUp"} {
		tab.call(t, "Input.dispatchKeyEvent", params{"type": kind, "key": "ArrowRight", "code": "ArrowRight", "windowsVirtualKeyCode": 39}, nil)
	}
	require.Eventually(t, func() bool { return said() != before }, browserTimeout, 10*time.Millisecond)
	requireQuiet(t, browser)
}

func isCompleteWithoutScripts(t *testing.T, browser *chromium) {
	tab := browser.open(t)
	tab.screen(t, 1280, "light", "screen")
	tab.call(t, "Emulation.setScriptExecutionDisabled", params{"value": true}, nil)
	h, r := sample()
	tab.load(t, rendered(t, h, r))
	var seen probed
	tab.evaluate(t, probe, &seen)
	requireDrawn(t, tab.picture(t, &seen.Timeline), seen.Timeline, "without scripts")
	var shown bool
	tab.evaluate(t, `document.getElementById("slide").checkVisibility()`, &shown)
	require.False(t, shown, "what needs the script is not shown")
	requireNothingLoaded(t, browser)
}

func isPrinted(t *testing.T, browser *chromium) {
	tab := browser.open(t)
	h, r := violated()
	tab.screen(t, 1280, "dark", "screen")
	tab.load(t, rendered(t, h, r))
	// A4 at 96 pixels an inch, without the margins.
	tab.screen(t, 688, "dark", "print")
	var seen probed
	tab.evaluate(t, probe, &seen)
	require.Greater(t, seen.Paper, 0.8, "paper is white, whatever the screen is")
	require.LessOrEqual(t, seen.ScrollWidth, seen.ClientWidth, "%s", seen.Wide)
	require.Empty(t, seen.Pale)
	var folded int
	tab.evaluate(t, `[...document.querySelectorAll("details .checks")].filter((e) => e.getBoundingClientRect().height === 0).length`, &folded)
	require.Zero(t, folded)
	if *screenshots != "" {
		keep(t, "violated-print.png", tab.picture(t, nil))
	}
	var printed struct{ Data []byte }
	tab.call(t, "Page.printToPDF", params{"printBackground": true, "preferCSSPageSize": true}, &printed)
	require.True(t, bytes.HasPrefix(printed.Data, []byte("%PDF-")))
	if *screenshots != "" {
		keep(t, "violated.pdf", printed.Data)
	}
	require.Empty(t, browser.complaints())
	require.Empty(t, browser.left.list())
}

// inner is a page that an Extra may be: it has styles and a script of its own, and would like to load
// something.
const inner = `<!doctype html><style>p{color:rgb(1,2,3)}</style><p>"quoted" & <b>bold</b></p><img src="http://outside.example/a.png">
<script>document.querySelector("b").textContent = "drawn";
let seen = "nothing"; try { seen = parent.document.title } catch { seen = "refused" }
document.body.append(" parent: " + seen);</script>`

func showsExtraInFrame(t *testing.T, browser *chromium) {
	tab := browser.open(t)
	tab.screen(t, 1280, "light", "screen")
	h, r := sample()
	tab.load(t, rendered(t, h, r, Extra{Title: "Operations", HTML: []byte(inner)}))
	var seen probed
	tab.evaluate(t, probe, &seen)
	require.LessOrEqual(t, seen.ScrollWidth, seen.ClientWidth)
	text := inFrame(t, tab, `document.body.innerText + getComputedStyle(document.querySelector("p")).color`, "parent: ")
	require.Contains(t, text, `"quoted" & drawn`)
	require.Contains(t, text, "parent: refused")
	require.Contains(t, text, "rgb(1, 2, 3)")
	// What it would like to load is refused, and that alone.
	complaints := browser.complaints()
	require.Len(t, complaints, 1)
	require.Contains(t, complaints[0], "outside.example")
	require.Contains(t, complaints[0], "Content Security Policy")
	require.Empty(t, browser.left.list())
}

// inFrame is what a script yields in the frame of a page, once that has a part. The frame has a process
// of its own, and is asked there.
func inFrame(t *testing.T, tab *tab, script, part string) (text string) {
	t.Helper()
	require.Eventually(t, func() bool {
		for _, attached := range tab.browser.seen(tab.session, "Target.attachedToTarget") {
			var frame struct {
				SessionID  string
				TargetInfo struct{ Type string }
			}
			require.NoError(t, json.Unmarshal(attached.Params, &frame))
			if frame.TargetInfo.Type == "iframe" {
				inner := *tab
				inner.session = frame.SessionID
				inner.evaluate(t, script, &text)
				return strings.Contains(text, part)
			}
		}
		return false
	}, browserTimeout, 50*time.Millisecond)
	return text
}

// drawsOperations shows a picture that porcupine draws, as it is for the workload register.
func drawsOperations(t *testing.T, browser *chromium) {
	model := porcupine.Model{
		Init: func() any { return 0 },
		Step: func(state, input, output any) (bool, any) {
			return input != 0 || output == state, max(state.(int), input.(int))
		},
		DescribeOperation: func(input, output any) string { return fmt.Sprintf("wrote %v, read %v", input, output) },
	}
	_, info := porcupine.CheckOperationsVerbose(model, []porcupine.Operation{
		{ClientId: 0, Input: 5, Output: 0, Call: 0, Return: 10}, {ClientId: 1, Input: 0, Output: 5, Call: 5, Return: 20},
	}, 0)
	var picture bytes.Buffer
	require.NoError(t, porcupine.Visualize(model, info, &picture))
	h, r := sample()
	h.Plan.Workload = history.Register
	tab := browser.open(t)
	tab.screen(t, 1280, "light", "screen")
	tab.load(t, rendered(t, h, r, Extra{Title: "What the clients saw", HTML: picture.Bytes()}))
	text := inFrame(t, tab, `document.querySelector("#canvas").innerHTML`, "wrote 5, read 0")
	require.Contains(t, text, "wrote 0, read 5")
	// A frame is drawn when it is to be seen.
	tab.evaluate(t, `(() => { document.querySelector("iframe").scrollIntoView({ block: "end" }); return true })()`, new(bool))
	var seen []byte
	require.Eventually(t, func() bool {
		seen = tab.screenful(t)
		picture, err := png.Decode(bytes.NewReader(seen))
		require.NoError(t, err)
		// It fills operations with this colour.
		return colorsOf(picture)[[3]uint32{0x42, 0xD1, 0xF5}] > 100
	}, browserTimeout, 100*time.Millisecond)
	requireQuiet(t, browser)
	if *screenshots != "" {
		keep(t, "operations-1280-light.png", seen)
	}
}

// The other tests find nothing. This one shows that there would be something to find.
func seesWhatIsWrong(t *testing.T, browser *chromium) {
	tab := browser.open(t)
	tab.screen(t, 400, "light", "screen")
	tab.load(t, []byte(`<!doctype html><body style="margin:0"><p style="color:#999">pale</p><div style="width:500px">wide</div>
<svg id="timeline" width="300" height="50"><text x="0" y="20">one</text><text x="5" y="20">two</text></svg>
<img src="http://outside.example/a.png"><script>console.error("oh"); undefined.there</script>`))
	var seen probed
	tab.evaluate(t, probe, &seen)
	require.Greater(t, seen.ScrollWidth, seen.ClientWidth)
	require.Len(t, seen.Pale, 1)
	require.Len(t, seen.Overlapping, 1)
	require.Len(t, seen.Resources, 1)
	require.Equal(t, []string{"GET http://outside.example/a.png"}, browser.left.list())
	require.Contains(t, browser.loaded(t), "http://outside.example/a.png")
	all := strings.Join(browser.complaints(), "\n")
	require.Contains(t, all, "oh")
	require.Contains(t, all, "undefined")
}
