package warmup

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"

	"k8s.io/client-go/util/jsonpath"

	"sluice.dev/sluice/reconciler/apis/warmup"
)

func checkHTTP(want *warmup.Expect, status int, body []byte) error {
	ok := status >= http.StatusOK && status < http.StatusMultipleChoices
	expected := "2xx"
	if want != nil && want.Status != nil {
		ok, expected = status == int(*want.Status), strconv.Itoa(int(*want.Status))
	}
	if !ok {
		answer := fmt.Sprintf("%d instead of %s", status, expected)
		if text := shown(body); text != "" {
			answer += ": " + text
		}
		return &unexpectedError{answer: answer, passing: status >= http.StatusInternalServerError || status == http.StatusTooManyRequests}
	}
	return checkBody(want, body)
}

// checkGRPC reads the code from the trailers, or from the headers where the answer is
// nothing but an error.
func checkGRPC(want *warmup.Expect, answer *http.Response, body []byte) error {
	if answer.StatusCode != http.StatusOK {
		return &unexpectedError{answer: "no gRPC: " + answer.Status, passing: answer.StatusCode >= http.StatusInternalServerError}
	}
	trailer := answer.Trailer
	if trailer.Get("Grpc-Status") == "" {
		trailer = answer.Header
	}
	code, err := strconv.Atoi(trailer.Get("Grpc-Status"))
	if err != nil {
		return &unexpectedError{answer: "no gRPC: an answer without grpc-status"}
	}
	expected := 0
	if want != nil && want.Status != nil {
		expected = int(*want.Status)
	}
	if code != expected {
		answer := fmt.Sprintf("gRPC code %d instead of %d: %s", code, expected, shown([]byte(trailer.Get("Grpc-Message"))))
		return &unexpectedError{answer: answer, passing: code == grpcUnavailable}
	}
	if len(body) >= grpcPrefix {
		body = body[grpcPrefix:]
	}
	return checkBody(want, body)
}

// checkBody compares the answer with what is expected of it; what differs won't be
// another one next time.
func checkBody(want *warmup.Expect, body []byte) error {
	if want == nil {
		return nil
	}
	if want.JSON != nil {
		if err := checkJSON(want.JSON, body); err != nil {
			return &unexpectedError{answer: err.Error()}
		}
	}
	sum := sha256.Sum256(body)
	if want.Body != "" && want.Body != string(body) ||
		len(want.BodyBytes) > 0 && !bytes.Equal(want.BodyBytes, body) ||
		want.BodySHA256 != "" && want.BodySHA256 != hex.EncodeToString(sum[:]) {
		return &unexpectedError{answer: "another body than expected: " + shown(body)}
	}
	return nil
}

func checkJSON(want *warmup.JSONValue, body []byte) error {
	var value any
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber() // a number is compared as it is written
	if err := decoder.Decode(&value); err != nil {
		return fmt.Errorf("no JSON (%w): %s", err, shown(body))
	}
	path := jsonpath.New("expect")
	if err := path.Parse(want.Path); err != nil {
		return fmt.Errorf("%q is no JSONPath: %w", want.Path, err)
	}
	var found bytes.Buffer
	if err := path.Execute(&found, value); err != nil {
		return fmt.Errorf("the answer has no %s: %w", want.Path, err)
	}
	if found.String() != want.Value {
		return fmt.Errorf("%s is %s instead of %s", want.Path, shown(found.Bytes()), want.Value)
	}
	return nil
}
