package pages

import (
	"fmt"
	"time"

	"github.com/eblume/caddy-registry/core/hours"
)

// plot is the answers of a mirror in equal spans of time, as bars.
type plot struct {
	ID, Name string
	Bars     []column
	// Words say what the bars show, to those who do not see them.
	Words string
	Sum   hours.Counts
}

// plotHeight is the height of a plot in the units of its bars; its width is 100.
const plotHeight = 30.0

// column is one span of time.
type column struct {
	Begin time.Time
	Label string
	hours.Counts
	X, Width string
	// The parts, from the bottom: answers from here, answers for which the upstream was asked, and the
	// rest of what was asked.
	Parts []block
}

type block struct{ Y, Height, Color string }

// plotOf adds up hours in n spans, of which the last one contains now.
func plotOf(id, name string, all []hours.Hour, now time.Time, n int, span time.Duration, layout string) plot {
	p := plot{ID: id, Name: name}
	first := now.UTC().Truncate(span).Add(-time.Duration(n-1) * span)
	width := 100 / float64(n)
	for i := range n {
		begin := first.Add(time.Duration(i) * span)
		p.Bars = append(p.Bars, column{
			Begin: begin, Label: begin.Format(layout),
			X: fmt.Sprintf("%.2f", float64(i)*width+width*.1), Width: fmt.Sprintf("%.2f", width*.8),
		})
	}
	most := int64(1)
	for _, hour := range all {
		i := int(hour.Begin.Sub(first) / span)
		if hour.Begin.Before(first) || i >= n {
			continue
		}
		p.Bars[i].Counts = p.Bars[i].Plus(hour.Counts)
		p.Sum = p.Sum.Plus(hour.Counts)
		most = max(most, p.Bars[i].Asked)
	}
	for i := range p.Bars {
		b := &p.Bars[i]
		y := plotHeight
		for _, part := range []struct {
			n     int64
			color string
		}{{b.Here(), "l5"}, {b.Fetched, "l6"}, {b.Asked - b.Here() - b.Fetched, "edge"}} {
			if part.n <= 0 {
				continue
			}
			height := plotHeight * float64(part.n) / float64(most)
			y -= height
			b.Parts = append(b.Parts, block{fmt.Sprintf("%.2f", y), fmt.Sprintf("%.2f", height), part.color})
		}
	}
	p.Words = fmt.Sprintf("%s: asked %s, %s answered from here, %s with the upstream",
		name, plural(p.Sum.Asked, "time", "times"), count(p.Sum.Here()), count(p.Sum.Fetched))
	return p
}

// percent is a part of a whole in words, or empty if there is no whole.
func percent(part, whole int64) string {
	if whole <= 0 {
		return ""
	}
	return fmt.Sprintf("%.0f %%", 100*float64(part)/float64(whole))
}
