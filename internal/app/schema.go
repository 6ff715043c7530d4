package app

import _ "embed"

//go:generate go test -run ^TestGenerated$ -count 1 . -update

// schema is made from the types of Config and the comments on its fields.
//
//go:embed config.schema.json
var schema []byte

// ConfigSchema returns the JSON Schema of the configuration file.
func ConfigSchema() []byte { return schema }
