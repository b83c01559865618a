// Asks for a URL with Java's HttpClient and the key that stands in the environment: java Ask.java URL VARIABLE.
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;

public class Ask {
	public static void main(String[] args) throws Exception {
		HttpRequest q = HttpRequest.newBuilder(URI.create(args[0])).header("Authorization", "Bearer " + System.getenv(args[1])).build();
		HttpResponse<String> a = HttpClient.newHttpClient().send(q, HttpResponse.BodyHandlers.ofString());
		System.out.println(a.version() + " " + a.statusCode() + " " + a.body());
	}
}
