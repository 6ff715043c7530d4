package pages

import (
	"cmp"
	"net/http"
	"slices"
	"strings"

	"bigbrotr/internal/core/query"
)

// systemPage is how the machinery fares.
type systemPage struct {
	Ready    bool         `json:"ready"`
	Trouble  []string     `json:"trouble"`
	Version  string       `json:"version"`
	Stats    query.Stats  `json:"stats"`
	Due      query.Due    `json:"due"`
	Services []serviceRow `json:"services"`
	Counters []counter    `json:"counters"`
	Figures  figureSet    `json:"-"`
}

// serviceRow is a service of this process.
type serviceRow struct {
	Name   string  `json:"name"`
	Cycles float64 `json:"cycles"` // that ended well
	Failed float64 `json:"failed"`
	InARow float64 `json:"failed_in_a_row"`
	MeanMS float64 `json:"mean_cycle_ms"`
}

// counter is a metric of this process.
type counter struct {
	Name   string  `json:"name"`
	Labels string  `json:"labels,omitempty"`
	Help   string  `json:"help"`
	Value  float64 `json:"value"`
}

func (p *Pages) system(r *http.Request) (view, error) {
	s := systemPage{Version: p.process.Version, Trouble: []string{}}
	var err error
	if s.Stats, err = p.query.Stats(r.Context()); err != nil {
		return view{}, err
	}
	if s.Due, err = p.query.Due(r.Context()); err != nil {
		return view{}, err
	}
	s.Figures = figures(s.Stats)
	if err := p.process.Ready(r.Context()); err != nil {
		s.Trouble = strings.Split(err.Error(), "\n")
	}
	s.Ready = len(s.Trouble) == 0
	if p.process.Metrics != nil {
		if s.Services, s.Counters, err = p.measured(); err != nil {
			return view{}, err
		}
	}
	return view{Title: "System", Section: "/system", Data: s}, nil
}

// ours is how the names of the project's metrics begin.
const ours = "bigbrotr_"

// measured reads the project's metrics of this process.
func (p *Pages) measured() ([]serviceRow, []counter, error) {
	families, err := p.process.Metrics.Gather()
	if err != nil {
		return nil, nil, err
	}
	byName := map[string]*serviceRow{}
	counters := []counter{}
	for _, family := range families {
		name := strings.TrimPrefix(family.GetName(), ours)
		if name == family.GetName() {
			continue
		}
		for _, m := range family.GetMetric() {
			labels := map[string]string{}
			var text []string
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
				if l.GetValue() != "" {
					text = append(text, l.GetName()+" "+l.GetValue())
				}
			}
			value := m.GetCounter().GetValue() + m.GetGauge().GetValue() + m.GetUntyped().GetValue()
			rest, isService := strings.CutPrefix(name, "service_")
			if !isService {
				if m.GetHistogram() == nil {
					counters = append(counters, counter{name, strings.Join(text, ", "), family.GetHelp(), value})
				}
				continue
			}
			row := byName[labels["service"]]
			if row == nil {
				row = &serviceRow{Name: labels["service"]}
				byName[row.Name] = row
			}
			switch {
			case rest == "failures":
				row.InARow = value
			case rest == "cycles_total" && labels["result"] == "ok":
				row.Cycles = value
			case rest == "cycles_total":
				row.Failed = value
			case m.GetHistogram().GetSampleCount() > 0:
				row.MeanMS = 1000 * m.GetHistogram().GetSampleSum() / float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	services := make([]serviceRow, 0, len(byName))
	for _, row := range byName {
		services = append(services, *row)
	}
	slices.SortFunc(services, func(a, b serviceRow) int { return cmp.Compare(a.Name, b.Name) })
	return services, counters, nil
}
