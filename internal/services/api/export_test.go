package api

import (
	"net"
	"net/http"
)

// Handler returns what Run serves.
func (s *Service) Handler() http.Handler { return s.handler() }

// ListenAt has Run serve at a listener of a test.
func (s *Service) ListenAt(l net.Listener) { s.listener = l }
