package pages

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// bar is the layers of an image side by side, as wide as they are large.
type bar struct {
	Parts []barPart
	// Words say the same.
	Words string
}

// barPart is a rectangle: X and Width are of 100, and Color is one of l1 to l6.
type barPart struct {
	X, Width string
	Color    int
}

const (
	barGap   = 0.2
	barSmall = 0.4 // of 100: a layer that is smaller is drawn with the others that are
)

// barColors are the colours of layers by rank, the largest first. The two hues alternate.
var barColors = []int{1, 5, 2, 6, 3}

// colorOf returns the colour of the layer with a rank.
func colorOf(rank int) int {
	if rank < len(barColors) {
		return barColors[rank]
	}
	return 4
}

// drawLayers draws layers of these sizes in their order, and returns the colour of each: 0 for one
// that is too small to be seen.
func drawLayers(sizes []int64) (bar, []int) {
	var total int64
	ranked := make([]int, 0, len(sizes))
	for i, n := range sizes {
		if n > 0 {
			total += n
			ranked = append(ranked, i)
		}
	}
	colors := make([]int, len(sizes))
	if total == 0 {
		return bar{}, colors
	}
	slices.SortStableFunc(ranked, func(a, b int) int { return cmp.Compare(sizes[b], sizes[a]) })
	share := func(i int) float64 { return float64(sizes[i]) * 100 / float64(total) }
	for rank, i := range ranked {
		if share(i) >= barSmall {
			colors[i] = colorOf(rank)
		}
	}
	var drawn bar
	x, small := 0.0, 0.0
	add := func(width float64, color int) {
		drawn.Parts = append(drawn.Parts, barPart{fmt.Sprintf("%.2f", x), fmt.Sprintf("%.2f", max(width-barGap, 0.1)), color})
		x += width
	}
	for i := range sizes {
		switch {
		case colors[i] != 0:
			add(share(i), colors[i])
		case sizes[i] > 0:
			small += share(i)
		}
	}
	if small > 0 {
		add(small, 4)
	}
	var words []string
	for _, i := range ranked[:min(5, len(ranked))] {
		words = append(words, size(sizes[i]))
	}
	drawn.Words = plural(int64(len(sizes)), "layer", "layers") + " of " + size(total) + " in all; the largest: " + strings.Join(words, ", ")
	return drawn, colors
}
