import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.logging.Logger;

/** A small server that calls itself: the agent makes spans, logs and metrics of it. usage: App COUNT */
public class App {
  public static void main(String[] arguments) throws Exception {
    Logger log = Logger.getLogger("app");
    HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", 0), 0);
    server.createContext("/greet", exchange -> {
      log.severe("request " + exchange.getRequestURI().getQuery() + " failed");
      exchange.sendResponseHeaders(200, 2);
      exchange.getResponseBody().write("ok".getBytes());
      exchange.close();
    });
    server.start();
    HttpClient client = HttpClient.newHttpClient();
    for (int n = 0; n < Integer.parseInt(arguments[0]); n++) {
      URI uri = URI.create("http://127.0.0.1:" + server.getAddress().getPort() + "/greet?" + n);
      client.send(HttpRequest.newBuilder(uri).build(), HttpResponse.BodyHandlers.ofString());
    }
    server.stop(0);
    // The agent flushes when the machine shuts down.
    System.exit(0);
  }
}
