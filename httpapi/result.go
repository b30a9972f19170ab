package httpapi

import (
	"context"
	"net/http"
	"unicode/utf8"

	"github.com/e0ff5a15/mollifier/run"
)

// resultAnswer is what a run came to, in the form that clients that wait for a
// run take apart: ok tells which of the other fields there are.
type resultAnswer struct {
	OK             bool         `json:"ok"`
	ID             run.ID       `json:"id"`
	TaskIdentifier string       `json:"taskIdentifier"`
	Output         *string      `json:"output,omitzero" nullable:"false" doc:"The output's own text, to be read by its type."`
	OutputType     string       `json:"outputType,omitzero"`
	Error          *resultError `json:"error,omitzero" nullable:"false"`
}

// resultError is why a run ended badly: BUILT_IN_ERROR with a name, a message
// and a stack; or INTERNAL_ERROR with a code, where no code of the task failed.
type resultError struct {
	Type       string  `json:"type" enum:"BUILT_IN_ERROR,INTERNAL_ERROR"`
	Name       *string `json:"name,omitzero" nullable:"false"`
	Code       string  `json:"code,omitzero"`
	Message    string  `json:"message"`
	StackTrace *string `json:"stackTrace,omitzero" nullable:"false"`
}

// resultCodes are the statuses in which a run ended without its task's doing.
var resultCodes = map[run.Status]string{
	run.Canceled: "TASK_RUN_CANCELLED", run.Crashed: "TASK_RUN_CRASHED", run.TimedOut: "MAX_DURATION_EXCEEDED",
	run.Expired: "TASK_RUN_EXPIRED", run.SystemFailure: "TASK_EXECUTION_FAILED",
}

// result answers GET /api/v1/runs/{runId}/result.
func (a *api) result(ctx context.Context, c *call) (reply, error) {
	r, err := a.readRun(ctx, c)
	if err != nil {
		return reply{}, err
	}
	if !r.Status.Final() {
		return reply{}, newProblem(http.StatusNotFound, "run-not-finished", "Run has not ended yet").with("X-Should-Retry", "false")
	}
	re, err := answer(resultOf(&r))
	if err == nil && !r.Canonical.IsZero() && r.Canonical != r.ID {
		re.header.Set(headerAlias, r.Canonical.String())
	}
	return re, err
}

func resultOf(r *run.Run) resultAnswer {
	out := resultAnswer{OK: r.Status == run.Completed, ID: r.ID, TaskIdentifier: r.Trigger.Task}
	if out.OK {
		out.OutputType = r.OutputType
		if out.OutputType == "" {
			out.OutputType = run.DefaultPayloadType
		}
		if r.Output != nil && utf8.Valid(r.Output) {
			text := string(r.Output)
			out.Output = &text
		}
		return out
	}
	failure := run.Failure{Message: string(r.Status)}
	if r.Error != nil {
		failure = *r.Error
	}
	out.Error = &resultError{Type: "INTERNAL_ERROR", Code: resultCodes[r.Status], Message: failure.Message}
	if out.Error.Code == "" {
		if failure.Name == "" {
			failure.Name = "Error"
		}
		out.Error.Type, out.Error.Name, out.Error.StackTrace = "BUILT_IN_ERROR", &failure.Name, &failure.StackTrace
	}
	return out
}
