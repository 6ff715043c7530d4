package store

// Grade says how much a finding matters.
type Grade string

// The grades of a finding.
const (
	GradeOK   Grade = "ok"
	GradeNote Grade = "note" // works, and could be better
	GradeBad  Grade = "bad"  // does not work, or loses something
)

// Finding is one thing that an examination of an installation looked at.
type Finding struct {
	Subject string `json:"subject"` // what was looked at, a few words
	Grade   Grade  `json:"grade"`
	Text    string `json:"text"`             // what was found
	Remedy  string `json:"remedy,omitempty"` // what to do, unless it is ok
}

// Findings gathers what an examination finds.
type Findings []Finding

// OK adds a thing that is as it should be.
func (f *Findings) OK(subject, text string) {
	*f = append(*f, Finding{Subject: subject, Grade: GradeOK, Text: text})
}

// Note adds a thing that could be better.
func (f *Findings) Note(subject, text, remedy string) {
	*f = append(*f, Finding{subject, GradeNote, text, remedy})
}

// Bad adds a thing that does not work.
func (f *Findings) Bad(subject, text, remedy string) {
	*f = append(*f, Finding{subject, GradeBad, text, remedy})
}
