package api

import "net/http"

// Handler returns what Run serves.
func (s *Service) Handler() http.Handler { return s.handler() }
