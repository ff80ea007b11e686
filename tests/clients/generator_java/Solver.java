import com.fasterxml.jackson.databind.ObjectMapper;
import jacobian.ApiClient;
import jacobian.ApiException;
import jacobian.api.GraphsApi;
import jacobian.api.JacobiansApi;
import jacobian.api.JacobiansApi.APIEvaluateSlicesRequest;
import jacobian.api.JacobiansApi.APIGetJacobianBytesRequest;
import jacobian.api.JacobiansApi.APIGetJacobianRequest;
import jacobian.api.SessionsApi;
import jacobian.model.Encoding;
import jacobian.model.ExpressionGraph;
import jacobian.model.Graph;
import jacobian.model.GraphDefinition;
import jacobian.model.GraphRef;
import jacobian.model.Problem;
import jacobian.model.RegisteredGraph;
import jacobian.model.SessionCreate;
import jacobian.model.SliceRequest;
import jacobian.model.Slices;
import jacobian.model.SlicesRequest;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** What a client does, with the package that openapi-generator's `java` (native) writes: Solver URL. */
public final class Solver {
  private final ApiClient client;
  private final GraphsApi graphs;
  private final SessionsApi sessions;
  private final JacobiansApi jacobians;

  private Solver(String url) {
    client = new ApiClient();
    client.updateBaseUri(url);
    graphs = new GraphsApi(client);
    sessions = new SessionsApi(client);
    jacobians = new JacobiansApi(client);
  }

  public static void main(String[] arguments) throws Exception {
    System.out.println(new ObjectMapper().writeValueAsString(new Solver(arguments[0]).run()));
  }

  private interface Call {
    Object answer() throws ApiException;
  }

  private Map<String, Object> run() throws Exception {
    ExpressionGraph expression = new ExpressionGraph()
        .format(ExpressionGraph.FormatEnum.EXPRESSION)
        .outputs(Map.of("r", "W @ x**2 - c", "root", "sqrt(x)"));
    RegisteredGraph graph = graphs.registerGraph(new GraphDefinition(expression));
    GraphRef reference = new GraphRef().format(GraphRef.FormatEnum.REF).graphId(graph.getGraphId());
    String id = sessions.createSession(new SessionCreate()
        .graph(new Graph(reference))
        .inputs(Map.of("W", List.of(List.of(2, 1), List.of(1, 3)), "c", List.of(17, 31), "x", List.of(1, -1)))
        .xs("x")).getId();

    var row = jacobians.getJacobian(slice(id, "r", "1,:").build());
    var nan = jacobians.getJacobian(slice(id, "root", "1,:").encoding(Encoding.BASE64).build());
    var block = jacobians.getJacobianBytes(
        APIGetJacobianBytesRequest.newBuilder().sessionId(id).y("r").build());
    Slices several = evaluate(id, new SlicesRequest()
        .slices(List.of(new SliceRequest().y("r").index(":,0"), new SliceRequest().y("root").index("0,0")))
        .outputs(List.of("r")));
    Slices elsewhere = evaluate(id, new SlicesRequest()
        .slices(List.of(new SliceRequest().y("r")))
        .at(Map.of("x", List.of(1, 2))));

    double[] x = {1, 1};
    Long revision = null;
    for (int step = 0; step < 6; step++) {
      Slices answer = evaluate(id, new SlicesRequest()
          .slices(List.of(new SliceRequest().y("r")))
          .inputs(Map.of("x", x))
          .outputs(List.of("r")));
      double[] change = solve(answer.getSlices().get(0).getData(), answer.getOutputs().get("r").getData());
      x[0] -= change[0];
      x[1] -= change[1];
      revision = answer.getRevision();
    }

    Problem problem = problemOf(() -> jacobians.getJacobian(slice(id, "r", "9,:").build()));
    sessions.deleteSession(id);
    Problem gone = problemOf(() -> sessions.getSession(id));

    Map<String, Object> result = new LinkedHashMap<>();
    result.put("graph_id", graph.getGraphId());
    result.put("row", List.of(row.getRevision(), row.getShape(), row.getData()));
    result.put("nan", plain(float64(nan.getBase64())));
    result.put("bytes", plain(float64(Files.readAllBytes(block.toPath()))));
    result.put("slices", several.getSlices().stream().map(entry -> entry.getData()).toList());
    result.put("output", several.getOutputs().get("r").getData());
    result.put("elsewhere", Arrays.asList(elsewhere.getRevision(), elsewhere.getSlices().get(0).getData()));
    result.put("revision", revision);
    result.put("solution", x);
    result.put("problem", List.of(
        problem.getStatus(), problem.getType(), problem.getDetail(), problem.getErrors().get(0).getPointer()));
    result.put("gone", List.of(gone.getStatus(), gone.getType()));
    return result;
  }

  private static APIGetJacobianRequest.Builder slice(String session, String y, String index) {
    return APIGetJacobianRequest.newBuilder().sessionId(session).y(y).index(index);
  }

  private Slices evaluate(String session, SlicesRequest request) throws ApiException {
    return jacobians.evaluateSlices(
        APIEvaluateSlicesRequest.newBuilder().sessionId(session).slicesRequest(request).build());
  }

  /** The problem that a call ends with. */
  private Problem problemOf(Call call) throws Exception {
    try {
      call.answer();
    } catch (ApiException error) {
      return client.getObjectMapper().readValue(error.getResponseBody(), Problem.class);
    }
    throw new AssertionError("the call should have failed");
  }

  /** Little-endian numbers. */
  private static List<Double> float64(byte[] raw) {
    var numbers = ByteBuffer.wrap(raw).order(ByteOrder.LITTLE_ENDIAN).asDoubleBuffer();
    List<Double> read = new ArrayList<>();
    while (numbers.hasRemaining()) {
      read.add(numbers.get());
    }
    return read;
  }

  /** Numbers as JSON can say them. */
  private static List<Object> plain(List<Double> numbers) {
    return numbers.stream().map(number -> number.isNaN() ? (Object) "NaN" : number).toList();
  }

  /** The solution of a 2x2 system whose matrix is row-major, by Cramer's rule. */
  private static double[] solve(List<Double> a, List<Object> b) {
    double e = ((Number) b.get(0)).doubleValue();
    double f = ((Number) b.get(1)).doubleValue();
    double determinant = a.get(0) * a.get(3) - a.get(1) * a.get(2);
    return new double[] {
      (e * a.get(3) - a.get(1) * f) / determinant, (a.get(0) * f - e * a.get(2)) / determinant
    };
  }
}
