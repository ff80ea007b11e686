// What a client does, with the package that openapi-generator's `go` writes: solver URL.
package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"log"
	"math"
	"os"

	"jacobian"
)

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

// answered is the answer of a call that must not fail; call it on what Execute returns.
func answered[T, R any](value T, _ R, err error) T {
	return must(value, err)
}

// problemOf is the problem that a call ended with.
func problemOf(err error) jacobian.Problem {
	var failure *jacobian.GenericOpenAPIError
	if !errors.As(err, &failure) {
		log.Fatal("the call should have failed, not ended with ", err)
	}
	return failure.Model().(jacobian.Problem)
}

// float64s reads little-endian numbers.
func float64s(raw []byte) []float64 {
	numbers := make([]float64, len(raw)/8)
	if err := binary.Read(bytes.NewReader(raw), binary.LittleEndian, numbers); err != nil {
		log.Fatal(err)
	}
	return numbers
}

// plain is numbers as JSON can say them.
func plain(numbers []float64) []interface{} {
	said := make([]interface{}, len(numbers))
	for at, number := range numbers {
		said[at] = number
		if math.IsNaN(number) {
			said[at] = "NaN"
		}
	}
	return said
}

// solve is the solution of a 2x2 system whose matrix is row-major, by Cramer's rule.
func solve(a []float64, b []interface{}) []float64 {
	e, f := b[0].(float64), b[1].(float64)
	determinant := a[0]*a[3] - a[1]*a[2]
	return []float64{(e*a[3] - a[1]*f) / determinant, (a[0]*f - e*a[2]) / determinant}
}

func slice(y string, index string) jacobian.SliceRequest {
	wanted := *jacobian.NewSliceRequest()
	wanted.SetY(y)
	wanted.SetIndex(index)
	return wanted
}

func main() {
	configuration := jacobian.NewConfiguration()
	configuration.Servers = jacobian.ServerConfigurations{{URL: os.Args[1]}}
	client := jacobian.NewAPIClient(configuration)
	ctx := context.Background()

	expression := jacobian.NewExpressionGraph("expression", map[string]string{"r": "W @ x**2 - c", "root": "sqrt(x)"})
	graph := answered(client.GraphsAPI.RegisterGraph(ctx).
		GraphDefinition(jacobian.ExpressionGraphAsGraphDefinition(expression)).Execute())
	reference := jacobian.NewGraphRef("ref", graph.GraphId)
	wanted := jacobian.NewSessionCreate(jacobian.GraphRefAsGraph(reference), map[string]interface{}{
		"W": [][]float64{{2, 1}, {1, 3}}, "c": []float64{17, 31}, "x": []float64{1, -1},
	})
	wanted.SetXs("x")
	session := answered(client.SessionsAPI.CreateSession(ctx).SessionCreate(*wanted).Execute())

	row := answered(client.JacobiansAPI.GetJacobian(ctx, session.Id).Y("r").Index("1,:").Execute())
	nan := answered(client.JacobiansAPI.GetJacobian(ctx, session.Id).Y("root").Index("1,:").
		Encoding(jacobian.ENCODING_BASE64).Execute())
	block := answered(client.JacobiansAPI.GetJacobianBytes(ctx, session.Id).Y("r").Execute())

	request := jacobian.NewSlicesRequest([]jacobian.SliceRequest{slice("r", ":,0"), slice("root", "0,0")})
	request.SetOutputs([]string{"r"})
	several := answered(client.JacobiansAPI.EvaluateSlices(ctx, session.Id).SlicesRequest(*request).Execute())

	request = jacobian.NewSlicesRequest([]jacobian.SliceRequest{slice("r", ":")})
	request.SetAt(map[string]interface{}{"x": []float64{1, 2}})
	elsewhere := answered(client.JacobiansAPI.EvaluateSlices(ctx, session.Id).SlicesRequest(*request).Execute())

	x := []float64{1, 1}
	var revision *int64
	for step := 0; step < 6; step++ {
		request := jacobian.NewSlicesRequest([]jacobian.SliceRequest{slice("r", ":")})
		request.SetInputs(map[string]interface{}{"x": x})
		request.SetOutputs([]string{"r"})
		answer := answered(client.JacobiansAPI.EvaluateSlices(ctx, session.Id).SlicesRequest(*request).Execute())
		for at, change := range solve(answer.Slices[0].Data, answer.Outputs["r"].Data) {
			x[at] -= change
		}
		revision = answer.Revision.Get()
	}

	_, _, err := client.JacobiansAPI.GetJacobian(ctx, session.Id).Y("r").Index("9,:").Execute()
	problem := problemOf(err)
	if _, err := client.SessionsAPI.DeleteSession(ctx, session.Id).Execute(); err != nil {
		log.Fatal(err)
	}
	_, _, err = client.SessionsAPI.GetSession(ctx, session.Id).Execute()
	gone := problemOf(err)

	slices := [][]float64{}
	for _, entry := range several.Slices {
		slices = append(slices, entry.Data)
	}
	must(0, json.NewEncoder(os.Stdout).Encode(map[string]interface{}{
		"graph_id":  graph.GraphId,
		"row":       []interface{}{row.Revision.Get(), row.Shape, row.Data},
		"nan":       plain(float64s(must(base64.StdEncoding.DecodeString(*nan.Base64)))),
		"bytes":     plain(float64s(must(io.ReadAll(block)))),
		"slices":    slices,
		"output":    several.Outputs["r"].Data,
		"elsewhere": []interface{}{elsewhere.Revision.Get(), elsewhere.Slices[0].Data},
		"revision":  revision,
		"solution":  x,
		"problem":   []interface{}{problem.Status, problem.Type, problem.Detail, problem.Errors[0].Pointer},
		"gone":      []interface{}{gone.Status, gone.Type},
	}))
}
