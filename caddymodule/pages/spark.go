package pages

import (
	"fmt"
	"strings"
	"time"

	"github.com/eblume/caddy-registry/core"
)

const (
	// sparkDays is how many days a line of pulls has; sparkWidth and sparkHeight are its size, and
	// sparkEdge keeps the stroke inside of it.
	sparkDays   = 14
	sparkWidth  = 96.0
	sparkHeight = 26.0
	sparkEdge   = 2.0
)

// spark is the pulls of the last days as a line.
type spark struct {
	// Points are the line's, as SVG has them. Empty: nothing was pulled.
	Points string
	// Words say the same.
	Words string
}

// sparkOf draws the pulls of the sparkDays until now, each day as high as it has pulls.
func sparkOf(days []core.DayPulls, now time.Time) spark {
	var counts [sparkDays]int64
	var most, sum int64
	for i := range counts {
		counts[i] = pullsSince(days, now, sparkDays-i) - pullsSince(days, now, sparkDays-i-1)
		most, sum = max(most, counts[i]), sum+counts[i]
	}
	if sum == 0 {
		return spark{}
	}
	var points []string
	for i, n := range counts {
		points = append(points, fmt.Sprintf("%.1f,%.1f",
			sparkEdge+float64(i)*(sparkWidth-2*sparkEdge)/(sparkDays-1),
			sparkHeight-sparkEdge-float64(n)*(sparkHeight-2*sparkEdge)/float64(most)))
	}
	return spark{strings.Join(points, " "), plural(sum, "pull", "pulls") + " in 14 days"}
}

// pullsSince counts the pulls of the last n days, with that of now.
func pullsSince(days []core.DayPulls, now time.Time, n int) (sum int64) {
	first := now.UTC().AddDate(0, 0, 1-n).Format(time.DateOnly)
	for _, day := range days {
		if day.Day >= first {
			sum += day.N
		}
	}
	return sum
}
