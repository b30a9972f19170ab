package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/redis/go-redis/v9"

	"github.com/e0ff5a15/mollifier/internal/devstack"
)

// browser is one tab of a headless Chromium, which is watched: whatever a page
// complains of, and whatever it asks of others than its own node, fails the test.
type browser struct {
	*testing.T
	ctx context.Context

	watched sync.WaitGroup
	mu      sync.Mutex
	asked   []string
}

// chromium is the browser of this machine; without one the test is skipped.
func chromium(t *testing.T) (program string) {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil && program == "" {
			program = path
		}
	}
	if program == "" {
		t.Skip("no Chromium on this machine (Debian's package chromium)")
	}
	return program
}

// openBrowser opens a tab, which is closed before what was started until now ends.
func openBrowser(t *testing.T, program string) *browser {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(program), chromedp.NoSandbox,
		chromedp.Flag("force-color-profile", "srgb"))
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(stop)
	tab, closeTab := chromedp.NewContext(allocator)
	t.Cleanup(closeTab)
	if err := chromedp.Do(tab); err != nil { // its context is the browser's life
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(tab, 5*patience)
	b := &browser{T: t, ctx: ctx}
	t.Cleanup(func() { cancel(); b.watched.Wait() })
	watch(b, runtime.ExceptionThrown, func(e runtime.EventExceptionThrown) {
		t.Errorf("the page threw: %+v", e.ExceptionDetails)
	})
	watch(b, log.EntryAdded, func(e log.EventEntryAdded) {
		if e.Entry.Level == log.EntryLevelError && !refusable(e.Entry.URL) {
			t.Errorf("the page complains: %s (%s)", e.Entry.Text, e.Entry.URL)
		}
	})
	watch(b, page.JavascriptDialogOpening, func(e page.EventJavascriptDialogOpening) {
		t.Errorf("the page opened a dialog: %s", e.Message)
	})
	watch(b, network.RequestWillBeSent, func(e network.EventRequestWillBeSent) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.asked = append(b.asked, e.Request.URL)
	})
	order(b, log.Enable, cdp.Empty{})
	order(b, network.Enable, network.EnableParams{})
	return b
}

// refusable reports whether a test has the node refuse what a page asks there.
func refusable(url string) bool {
	return strings.Contains(url, "/admin/v1/explain") || strings.Contains(url, "/admin/v1/environments/")
}

// watch has f told of every event of a kind, as long as the browser is there.
func watch[E any](b *browser, event cdp.Event[E], f func(E)) {
	events := chromedp.Events(b.ctx, event)
	b.watched.Go(func() {
		for e, err := range events {
			if err != nil {
				return
			}
			f(e)
		}
	})
}

func order[P, R any](b *browser, what cdp.Command[P, R], params P) {
	b.Helper()
	if _, err := chromedp.Call(b.ctx, what, params); err != nil {
		b.Fatal(err)
	}
}

func (b *browser) do(actions ...chromedp.Action[chromedp.Void]) {
	b.Helper()
	if err := chromedp.Do(b.ctx, actions...); err != nil {
		b.Fatalf("%v; the page says:\n%s", err, b.text())
	}
}

// until waits for an expression to be true in the page.
func (b *browser) until(what, expression string) {
	b.Helper()
	if _, err := chromedp.Run(b.ctx, chromedp.Poll[bool](expression, chromedp.WithPollingTimeout(patience))); err != nil {
		b.Fatalf("not seen: %s (%v); the page says:\n%s", what, err, b.text())
	}
}

// text is all that the page says.
func (b *browser) text() string {
	text, err := chromedp.Run(b.ctx, chromedp.Evaluate[string]("document.body.innerText"))
	if err != nil {
		return err.Error()
	}
	return text
}

// ask evaluates an expression in the page.
func ask[T any](b *browser, expression string) T {
	b.Helper()
	value, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		b.Fatalf("%s: %v", expression, err)
	}
	return value
}

// theme has the browser prefer light or dark.
func (b *browser) theme(name string) {
	b.Helper()
	order(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}},
	})
}

func (b *browser) screen(width, height int64, mobile bool) {
	b.Helper()
	order(b, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
		Width: width, Height: height, DeviceScaleFactor: 1, Mobile: mobile,
	})
}

// says is an expression: an element's text holds another.
func says(id, text string) string {
	return fmt.Sprintf("document.getElementById(%q).textContent.includes(%q)", id, text)
}

// stormOf triggers with many callers until it is stopped; half of the triggers share
// a few keys.
func stormOf(t *testing.T, url, apiKey string, callers int) (stop func()) {
	t.Helper()
	c := client(t)
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for caller := range callers {
		all.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				key := ""
				if (n+caller)%2 == 0 {
					key = fmt.Sprint("order-", n/20)
				}
				_, err := trigger(ctx, c, url, apiKey, key)
				if err != nil && ctx.Err() == nil {
					t.Errorf("a trigger of the storm: %v", err)
					return
				}
			}
		})
	}
	stop = sync.OnceFunc(func() { cancel(); all.Wait() })
	t.Cleanup(stop)
	return stop
}

// An operator opens the page, sees a storm come and go, reads who storms, looks a run
// up, and does it all by keyboard; and nobody's text becomes part of the page.
func TestLivePage(t *testing.T) {
	t.Parallel()
	program := chromium(t)
	flags, _ := sharedStores(t)
	data := folder(t)
	startNode(t, data, append(flags, "-name", "node-1", "-drain=false", "-gate-hold", "3s")...)
	first, otherData := info(t, data), folder(t)
	other := startNode(t, otherData, append(flags, "-name", "node-2", "-secret-key-file", data+"/secret.key")...)
	second, key := info(t, otherData), first.Environments[1].Key // prod

	b := openBrowser(t, program)
	b.screen(1280, 900, false)
	b.do(chromedp.Navigate(first.Admin))
	b.until("calm", says("headline-text", "Calm"))
	b.until("both nodes", says("nodes", "node-1")+"&&"+says("nodes", "node-2"))

	stop := stormOf(t, first.HTTP, key, 64)
	b.until("the storm", says("headline-text", "demo/prod storms and is mollified"))
	b.until("the environment", says("environments", "demo/prod")+"&&"+says("environments", "env_"))
	b.until("the event", says("events", "demo/prod storms and is mollified."))
	b.until("the outcome", `Number(document.querySelector("#chart-outcomes .legend li:nth-child(2) b").textContent.replace(/,/g, "")) > 0`)
	b.until("the reason", says("decisions", "mollify")+"&&"+says("decisions", "rate"))
	b.contrast("light")
	b.contrast("dark")
	b.labels()
	// The other node drains: it has found how much waits, and of whom.
	b.do(chromedp.Navigate(second.Admin))
	b.until("whose the buffer is", says("organisations", "demo")+"&&"+says("organisations", "org_"))
	b.do(chromedp.Navigate(first.Admin))
	b.until("the storm as it was", says("events", "demo/prod storms and is mollified."))
	stop()
	b.until("its end", says("events", "demo/prod storms no more"))

	b.until("no drain here", says("t-drained-note", "does not drain"))

	one := answered(t)(trigger(t.Context(), client(t), first.HTTP, key, "order-to-explain"))
	// Not by KeyEvent, which types the character even where the page has taken the key.
	b.do(chromedp.Evaluate[chromedp.Void](`document.body.dispatchEvent(new KeyboardEvent("keydown", { key: "/", bubbles: true }))`))
	if at := ask[string](b, "document.activeElement.id"); at != "look-run" {
		t.Errorf("/ goes to %q", at)
	}
	b.do(chromedp.KeyEvent(one.ID), chromedp.KeyEvent(kb.Enter))
	b.until("an explanation", says("explained", one.ID)+`&& document.querySelectorAll("#explained .timeline li").length > 0`)
	if at := ask[string](b, "location.hash"); at != "#run="+one.ID {
		t.Errorf("the address has %q", at)
	}
	address := func(hash string) {
		b.do(chromedp.Evaluate[chromedp.Void](fmt.Sprintf("location.hash = %q", hash)))
	}
	address("environment=demo%2Fprod&task=hello&key=order-to-explain")
	b.until("the same by its key", says("explained", one.ID)+`&& document.getElementById("look-key").value === "order-to-explain"`)
	address("run=run_nothing")
	b.until("that there is none", `document.querySelector("#explained .problem")?.textContent === "Run not found"`)

	b.do(chromedp.Evaluate[chromedp.Void]("document.activeElement.blur()"), chromedp.KeyEvent("p"))
	b.until("the pause", says("link", "paused"))
	b.do(chromedp.KeyEvent("p"))
	b.until("that it goes on", `document.getElementById("link").dataset.link === "live"`)
	b.do(chromedp.Focus(chromedp.CSS("#chart-outcomes > svg")), chromedp.KeyEvent(kb.ArrowLeft))
	b.until("a second of the chart", `document.querySelector("#chart-outcomes .when").textContent.startsWith("at ")`)

	overrideGate(t, first, data, `{"threshold":500,"for":"1h"}`)
	b.until("an override", says("overrides", "threshold 500")+"&&"+says("overrides", "demo/prod")+`&& !document.getElementById("overridden").hidden`)

	b.operates(t, data)

	hostileWord(t, flags)
	b.until("a hostile name as text", says("nodes", "<img src=x"))
	if n := ask[int](b, `document.querySelectorAll("img, script:not([src])").length`); n != 0 {
		t.Errorf("%d elements were made of text", n)
	}
	other.stop(t)
	b.until("that a node left", says("events", "Node node-2 is gone."))

	b.screen(360, 740, true)
	b.until("no sideways scrolling on a phone", "document.documentElement.scrollWidth <= window.innerWidth")
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, url := range b.asked {
		if !strings.HasPrefix(url, first.Admin+"/") && !strings.HasPrefix(url, second.Admin+"/") {
			t.Errorf("the page asked for %s", url)
		}
	}
}

// operates changes the gate and the drain on the page, by keys and by its buttons: with
// a token that is asked for once and kept nowhere, nothing without a confirmation, and
// with the node's own words for what is wrong.
func (b *browser) operates(t *testing.T, data string) {
	t.Helper()
	all, err := adminTokens{data + "/admin.tokens"}.read()
	if err != nil {
		t.Fatal(err)
	}
	token := all[0].token
	press := func(what string) {
		b.do(chromedp.Evaluate[chromedp.Void](fmt.Sprintf("document.querySelector(%q).click()", what)))
	}
	set := func(name, value string) {
		b.do(chromedp.Evaluate[chromedp.Void](fmt.Sprintf("document.getElementById('change').elements[%q].value = %q", name, value)))
	}
	const open, closed = `document.getElementById("confirm").open`, `!document.getElementById("confirm").open`
	press(`#change [data-act="mollify"]`)
	b.until("that an environment is wanted", says("change-said", "Give an environment."))
	b.do(chromedp.Evaluate[chromedp.Void](`document.activeElement.blur(); document.body.dispatchEvent(new KeyboardEvent("keydown", { key: "o", bubbles: true }))`))
	b.do(chromedp.KeyEvent("demo/prod"))
	set("reason", "a rehearsal")
	press(`#change [data-act="pass"]`)
	b.until("the question", open+"&&"+says("confirm-text", "Let every trigger of demo/prod pass"))
	b.contrast("light")
	b.contrast("dark")
	b.do(chromedp.KeyEvent("mat_guessedguessedguessed"), chromedp.KeyEvent(kb.Enter))
	b.until("that the token is wrong", says("confirm-problem", "Invalid or missing admin token"))
	b.do(chromedp.KeyEvent(token), chromedp.KeyEvent(kb.Enter))
	b.until("that it is done", closed+"&&"+says("change-said", "demo/prod passes."))
	b.until("the override", says("overrides", "forced to pass")+"&&"+says("overrides", "a rehearsal"))

	press(`#change [data-act="pause"]`)
	b.until("a question without a token", open+`&& document.getElementById("token-field").hidden && document.activeElement.id === "confirm-yes"`)
	b.do(chromedp.KeyEvent(kb.Enter))
	b.until("the pause", closed+"&&"+says("overrides", "not drained"))

	set("threshold", "0")
	press(`#change [data-act="limits"]`)
	b.until("a question", open)
	b.do(chromedp.KeyEvent(kb.Enter))
	b.until("what is wrong with it", says("confirm-problem", "threshold"))
	b.do(chromedp.KeyEvent(kb.Escape))
	b.until("that it was given up", closed+"&&"+says("overrides", "forced to pass"))

	resume := `#overrides button[aria-label="Resume the drain of demo/prod"]`
	b.do(chromedp.Focus(chromedp.CSS(resume)))
	at := ask[float64](b, "Date.now() + 2500") // two looks later the button is the same
	b.until("that the focus stays", fmt.Sprintf(`Date.now() > %f && document.activeElement.matches(%q)`, at, resume))
	b.do(chromedp.KeyEvent(kb.Enter))
	b.until("the question", open)
	b.do(chromedp.KeyEvent(kb.Enter))
	b.until("that the drain goes on", closed+"&& !"+says("overrides", "not drained"))
	press(`#overrides button[aria-label="Clear the gate's override of demo/prod"]`)
	b.until("the question", open)
	b.do(chromedp.KeyEvent(kb.Enter))
	b.until("that nothing is overridden", `document.getElementById("overridden").hidden`)

	press("#odd")
	b.until("aliases and failures alone", says("events-empty", "No alias and no failure"))
	press("#odd")
	if kept := ask[string](b, "JSON.stringify([localStorage, sessionStorage, document.cookie, location.href]) + document.documentElement.outerHTML"); strings.Contains(kept, token) {
		t.Error("the page keeps the token")
	}
	press("#forget")
	b.until("that the token is asked for again", `!document.getElementById("token-field").hidden`)
}

// overrideGate changes demo/prod as an operator does.
func overrideGate(t *testing.T, node devstack.Info, data, body string) {
	t.Helper()
	all, err := adminTokens{data + "/admin.tokens"}.read()
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, node.Admin+"/admin/v1/environments/demo%2Fprod/gate?reason=a+test", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	answered(t)(send(client(t), req, all[0].token))
}

// hostileWord leaves a word on the board as no node would.
func hostileWord(t *testing.T, flags []string) {
	t.Helper()
	options, err := redis.ParseURL(flags[1])
	if err != nil {
		t.Fatal(err)
	}
	c := redis.NewClient(options)
	defer func() { _ = c.Close() }()
	word, err := json.Marshal(map[string]any{"name": `<img src=x onerror=alert(1)>`, "version": `<script>alert(2)</script>`, "level": `"><b>`})
	if err != nil {
		t.Fatal(err)
	}
	now := c.Time(t.Context()).Val().UnixMilli()
	if err := c.HSet(t.Context(), flags[5]+":board", "hostile", fmt.Sprintf("%d|%s", now, word)).Err(); err != nil {
		t.Fatal(err)
	}
}

// contrast holds every text that is shown to the contrast that WCAG 2.2 asks for at level AA.
func (b *browser) contrast(theme string) {
	b.Helper()
	b.theme(theme)
	faults := ask[[]string](b, `(() => {
		const rgb = (c) => c.match(/[\d.]+/g).map(Number);
		const light = (c) => {
			const [r, g, b] = c.slice(0, 3).map((v) => (v /= 255, v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
			return 0.2126 * r + 0.7152 * g + 0.0722 * b;
		};
		const ground = (e) => {
			for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] > 0.99) return c; }
			return [255, 255, 255];
		};
		const faults = [];
		for (const e of document.querySelectorAll("body *")) {
			const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
			if (!own || !e.checkVisibility() || e.closest("noscript, .skip")) continue;
			const style = getComputedStyle(e);
			const a = light(rgb(e instanceof SVGElement ? style.fill : style.color)), b = light(ground(e));
			const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
			const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700);
			if (ratio < (large ? 3 : 4.5)) faults.push(e.tagName + " " + e.className + " " + e.textContent.slice(0, 30) + ": " + ratio.toFixed(2));
		}
		return faults;
	})()`)
	for _, fault := range faults {
		b.Errorf("%s: too little contrast: %s", theme, fault)
	}
}

// labels holds the page to what somebody needs who does not see it.
func (b *browser) labels() {
	b.Helper()
	for what, selector := range map[string]string{
		"a control without a name":           `[...document.querySelectorAll("button, input")].filter((e) => !(e.labels?.length || e.textContent.trim() || e.getAttribute("aria-label")))`,
		"a head of a table without a scope":  `[...document.querySelectorAll("th:not([scope])")]`,
		"a chart without a description":      `[...document.querySelectorAll("figure > svg")].filter((e) => !e.getAttribute("aria-label"))`,
		"a section without a heading":        `[...document.querySelectorAll("section")].filter((e) => !e.querySelector("h1, h2"))`,
		"a reference to no element":          `[...document.querySelectorAll("[aria-labelledby]")].filter((e) => !document.getElementById(e.getAttribute("aria-labelledby")))`,
		"a live region that is not polite":   `[...document.querySelectorAll("[aria-live]")].filter((e) => e.getAttribute("aria-live") !== "polite")`,
		"an id that is there more than once": `[...document.querySelectorAll("[id]")].filter((e) => document.querySelectorAll("#" + e.id).length > 1)`,
	} {
		if found := ask[[]string](b, selector+`.map((e) => e.outerHTML.slice(0, 120))`); len(found) > 0 {
			b.Errorf("%s: %v", what, found)
		}
	}
	if ask[int](b, `document.querySelectorAll("[aria-live]").length`) == 0 || ask[string](b, "document.documentElement.lang") == "" {
		b.Error("nothing is said aloud, or in no language")
	}
}

// Screenshots for the docs: make screenshots.
func TestScreenshots(t *testing.T) {
	folderOf := os.Getenv("SCREENSHOTS")
	if folderOf == "" {
		t.Skip("make screenshots takes them")
	}
	program := chromium(t)
	flags, _ := sharedStores(t)
	data, otherData := folder(t), folder(t)
	startNode(t, data, append(flags, "-name", "node-1", "-gate-hold", "2s")...)
	first := info(t, data)
	startNode(t, otherData, append(flags, "-name", "node-2", "-gate-hold", "2s", "-secret-key-file", data+"/secret.key")...)
	second := info(t, otherData)
	b := openBrowser(t, program)
	b.screen(1280, 900, false)
	b.do(chromedp.Navigate(first.Admin))
	b.until("both nodes", says("nodes", "node-2"))

	// Waves: a second of the page at a time, as it counts them.
	seconds := func(n int) {
		later := ask[float64](b, fmt.Sprintf("Date.now() + %d", 1000*n))
		b.until("the time", fmt.Sprintf("Date.now() > %f", later))
	}
	quiet := stormOf(t, second.HTTP, first.Environments[0].Key, 1)
	for _, callers := range []int{2, 48, 96, 24, 128} {
		stop := stormOf(t, first.HTTP, first.Environments[1].Key, callers)
		seconds(14)
		if callers == 128 {
			b.until("the storm", says("headline-text", "storms"))
			one := answered(t)(trigger(t.Context(), &http.Client{}, first.HTTP, first.Environments[1].Key, "order-to-explain"))
			b.do(chromedp.Evaluate[chromedp.Void](fmt.Sprintf("location.hash = %q", "run="+one.ID)))
			b.until("an explanation", says("explained", one.ID))
			shoot(b, folderOf)
		}
		stop()
		if callers != 128 {
			seconds(4)
		}
	}
	quiet()
	recorded := t.TempDir() + "/storm.jsonl"
	code, text, stderr := runHere(t, "gate", "record", "-data", data)
	if err := os.WriteFile(recorded, []byte(text), 0o600); code != exitOK || err != nil {
		t.Fatalf("%d %s %v", code, stderr, err)
	}
	if code, _, stderr := runHere(t, "gate", "replay", recorded, "-threshold", "200", "-svg", folderOf+"/gate-replay.svg"); code != exitOK {
		t.Fatalf("%d %s", code, stderr)
	}
}

func shoot(b *browser, to string) {
	b.Helper()
	for _, shot := range []struct {
		name, theme   string
		width, height int64
		mobile        bool
	}{
		{"live-light", "light", 1180, 1180, false}, {"live-dark", "dark", 1180, 1180, false}, {"live-phone", "dark", 390, 1180, true},
	} {
		b.theme(shot.theme)
		b.screen(shot.width, shot.height, shot.mobile)
		b.do(chromedp.Evaluate[chromedp.Void]("scrollTo(0, 0)"))
		picture, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
		if err != nil {
			b.Fatal(err)
		}
		write(b, to+"/"+shot.name+".png", picture)
	}
	b.theme("light")
	b.screen(1180, 1180, false)
	picture, err := chromedp.Run(b.ctx, chromedp.Screenshot(chromedp.CSS(`section[aria-labelledby="h-look"]`)))
	if err != nil {
		b.Fatal(err)
	}
	write(b, to+"/live-explain.png", picture)
}

func write(b *browser, file string, picture []byte) {
	b.Helper()
	if err := os.WriteFile(file, small(b, picture), 0o644); err != nil {
		b.Fatal(err)
	}
}

// small is the picture with a palette of the colours that it uses most: it has few,
// but for the edges of letters.
func small(b *browser, text []byte) []byte {
	b.Helper()
	picture, err := png.Decode(bytes.NewReader(text))
	if err != nil {
		b.Fatal(err)
	}
	uses := map[color.RGBA]int{}
	bounds := picture.Bounds()
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			uses[color.RGBAModel.Convert(picture.At(x, y)).(color.RGBA)]++
		}
	}
	colours := slices.SortedFunc(maps.Keys(uses), func(p, q color.RGBA) int { return cmp.Compare(uses[q], uses[p]) })
	palette := make(color.Palette, 0, 256)
	for _, apart := range []int{24, 0} { // rare colours that stand out, then shades of the frequent ones
		for _, c := range colours {
			if len(palette) < cap(palette) && !slices.ContainsFunc(palette, func(p color.Color) bool { return distance(c, p.(color.RGBA)) <= apart }) {
				palette = append(palette, c)
			}
		}
	}
	paletted := image.NewPaletted(bounds, palette)
	draw.Draw(paletted, bounds, picture, bounds.Min, draw.Src)
	var out bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&out, paletted); err != nil {
		b.Fatal(err)
	}
	return out.Bytes()
}

func distance(p, q color.RGBA) int {
	apart := func(a, b uint8) int { return max(int(a), int(b)) - min(int(a), int(b)) }
	return max(apart(p.R, q.R), apart(p.G, q.G), apart(p.B, q.B))
}
