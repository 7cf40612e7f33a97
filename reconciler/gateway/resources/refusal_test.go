package resources

import (
	"testing"

	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
)

// Where Envoy answers as gRPC, whatever else is said lands in a header.
func TestRefusalsInPlainWords(t *testing.T) {
	for content, want := range map[string]bool{
		"application/grpc":       true,
		"application/grpc+proto": true,
		"application/grpc-web":   false,
		"application/grpcx":      false,
		"application/json":       false,
		"":                       false,
	} {
		if got := wholly(t, grpcContent, content); got != want {
			t.Errorf("%q is answered as gRPC: %v, want %v", content, got, want)
		}
	}
	readable := map[string]string{"access-control-allow-origin": "*", "access-control-expose-headers": "Retry-After, RateLimit"}
	for i, mapper := range must[*hcmv3.LocalReplyConfig](t)(refusals()).Mappers {
		for _, added := range mapper.HeadersToAdd {
			if want, ok := readable[added.GetHeader().GetKey()]; ok && added.GetHeader().GetValue() == want {
				delete(readable, added.GetHeader().GetKey())
			}
		}
		if len(readable) > 0 && i == 0 {
			t.Errorf("a page of another origin couldn't read a refusal: it lacks %v", readable)
		}
	}
	mappers := must[*hcmv3.LocalReplyConfig](t)(refusals()).Mappers
	if body := mappers[0].GetBodyFormatOverride(); len(mappers) != 2 || body.GetJsonFormat() != nil {
		t.Errorf("the first mapper that fits is taken, and of %d the first says %v", len(mappers), body)
	}
}
