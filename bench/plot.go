package main

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"text/template"
)

// A chart is lines over one horizontal axis; both axes are logarithmic, and each has a line per decade.
type chart struct {
	Title, XLabel, YLabel string
	lines                 []line
}

type line struct {
	name   string
	points [][2]float64
}

// plot writes one SVG for each chart that there are figures for; nothing where dir is empty.
func (r *report) plot(dir string) error {
	if dir == "" {
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, c := range map[string]chart{"growth.svg": r.growthChart(), "latency.svg": r.latencyChart()} {
		if len(c.lines[0].points) == 0 {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(c.svg()), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (r *report) growthChart() chart {
	lines := []line{{name: "accepted items/s"}, {name: "deliveries/s, three sinks"}}
	if r.Growth == nil {
		return chart{lines: lines}
	}
	for _, s := range r.Growth.Sizes {
		for i, v := range []float64{s.Accept, s.Drain} {
			lines[i].points = append(lines[i].points, [2]float64{float64(s.Waiting), v})
		}
	}
	return chart{"Rates with a backlog", "items waiting", "per second", lines}
}

func (r *report) latencyChart() chart {
	lines := []line{{name: "holdfast p50"}, {name: "holdfast p99"}, {name: "floor p50"}, {name: "floor p99"}}
	for _, l := range r.Loads {
		for i, v := range []float64{l.Holdfast.P50, l.Holdfast.P99, l.Floor.P50, l.Floor.P99} {
			lines[i].points = append(lines[i].points, [2]float64{l.Offered, v})
		}
	}
	return chart{"Latency of accepts by load", "items/s offered by 64 streams", "µs", lines}
}

// The drawing area, in pixels.
const left, top, width, height = 90.0, 40.0, 560.0, 320.0

var colours = []string{"#1b6ca8", "#c0392b", "#7f8c8d", "#d68910"}

// svg draws the chart.
func (c chart) svg() string {
	x, y := newAxis(c.lines, 0), newAxis(c.lines, 1)
	type text struct {
		X, Y  float64
		Label string
	}
	type curve struct {
		Colour, Points, Name string
		X, Y                 float64
	}
	data := struct {
		chart
		Left, Top, Right, Bottom, Middle float64
		XTicks, YTicks                   []text
		Curves                           []curve
	}{chart: c, Left: left, Top: top, Right: left + width, Bottom: top + height, Middle: left + width/2}
	for v := x.low; v <= x.high*1.0001; v *= 10 {
		data.XTicks = append(data.XTicks, text{left + x.at(v)*width, top + height + 18, short(v)})
	}
	for v := y.low; v <= y.high*1.0001; v *= 10 {
		data.YTicks = append(data.YTicks, text{left - 8, top + height - y.at(v)*height, short(v)})
	}
	for i, l := range c.lines {
		var points strings.Builder
		for _, p := range l.points {
			fmt.Fprintf(&points, "%.1f,%.1f ", left+x.at(p[0])*width, top+height-y.at(p[1])*height)
		}
		data.Curves = append(data.Curves, curve{colours[i%len(colours)], points.String(), l.name, left + width + 16, top + 14 + float64(i)*20})
	}
	var b strings.Builder
	template.Must(template.New("chart").Parse(page)).Execute(&b, data) // a strings.Builder takes everything
	return b.String()
}

// An axis goes from a power of ten to another one.
type axis struct{ low, high float64 }

func newAxis(lines []line, coordinate int) axis {
	low, high := math.Inf(1), 0.0
	for _, l := range lines {
		for _, p := range l.points {
			low, high = min(low, p[coordinate]), max(high, p[coordinate])
		}
	}
	low, high = max(low, 1), max(high, 1)
	a := axis{math.Pow(10, math.Floor(math.Log10(low))), math.Pow(10, math.Ceil(math.Log10(high)))}
	if a.low == a.high {
		a.high *= 10
	}
	return a
}

// at is where a value is, from 0 to 1.
func (a axis) at(v float64) float64 {
	return math.Log10(max(v, a.low)/a.low) / math.Log10(a.high/a.low)
}

// short is a power of ten for people.
func short(v float64) string {
	for _, u := range []struct {
		size float64
		name string
	}{{1e6, " M"}, {1e3, " k"}} {
		if v >= u.size {
			return fmt.Sprintf("%g%s", v/u.size, u.name)
		}
	}
	return fmt.Sprintf("%g", v)
}

const page = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 860 420" font-family="sans-serif" font-size="13">
<rect width="860" height="420" fill="white"/>
<text x="{{.Middle}}" y="24" text-anchor="middle" font-size="16">{{.Title}}</text>
<text x="{{.Middle}}" y="408" text-anchor="middle">{{.XLabel}}</text>
<text x="18" y="200" text-anchor="middle" transform="rotate(-90 18 200)">{{.YLabel}}</text>
{{range .XTicks}}<path d="M{{.X}} {{$.Top}}V{{$.Bottom}}" stroke="#ddd"/><text x="{{.X}}" y="{{.Y}}" text-anchor="middle">{{.Label}}</text>
{{end}}{{range .YTicks}}<path d="M{{$.Left}} {{.Y}}H{{$.Right}}" stroke="#ddd"/><text x="{{.X}}" y="{{.Y}}" text-anchor="end" dominant-baseline="middle">{{.Label}}</text>
{{end}}{{range .Curves}}<polyline points="{{.Points}}" fill="none" stroke="{{.Colour}}" stroke-width="2"/><text x="{{.X}}" y="{{.Y}}" fill="{{.Colour}}">{{.Name}}</text>
{{end}}</svg>
`
