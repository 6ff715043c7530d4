package main

import (
	"errors"
	"io"
)

// closing closes c and adds its error to the one a command returns.
func closing(c io.Closer, err *error) { *err = errors.Join(*err, c.Close()) }
