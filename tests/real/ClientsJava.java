// Java's own HTTP client, over HTTP/2 and HTTP/1.1: ClientsJava URL CERTIFICATE

import java.io.FileInputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.ArrayList;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

public class ClientsJava {
    public static void main(String[] words) throws Exception {
        KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null, null);
        try (FileInputStream file = new FileInputStream(words[1])) {
            store.setCertificateEntry("site", CertificateFactory.getInstance("X.509").generateCertificate(file));
        }
        TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(store);
        SSLContext tls = SSLContext.getInstance("TLS");
        tls.init(null, trust.getTrustManagers(), null);
        for (HttpClient.Version version : HttpClient.Version.values()) {
            HttpClient client = HttpClient.newBuilder().sslContext(tls).version(version).build();
            var pages = new ArrayList<java.util.concurrent.CompletableFuture<java.net.http.HttpResponse<String>>>();
            for (int index = 0; index < 50; index++) {
                var request = HttpRequest.newBuilder(URI.create(words[0] + "/page-" + index)).build();
                pages.add(client.sendAsync(request, BodyHandlers.ofString()));
            }
            for (int index = 0; index < 50; index++) {
                var page = pages.get(index).get();
                expect(page.body(), "GET /page-" + index + "\n");
                expect(page.version(), version);
            }
            var body = HttpRequest.BodyPublishers.ofByteArray(new byte[1_000_000]);
            var upload = HttpRequest.newBuilder(URI.create(words[0] + "/upload")).POST(body).build();
            String said = client.send(upload, BodyHandlers.ofString()).body();
            if (!said.contains("\"length\":1000000")) throw new AssertionError(said);
            var large = HttpRequest.BodyPublishers.ofByteArray(new byte[20_000_000]);
            var refused = HttpRequest.newBuilder(URI.create(words[0] + "/upload/small")).POST(large).build();
            expect(client.send(refused, BodyHandlers.ofString()).statusCode(), 413);
        }
        System.exit(0);
    }

    private static void expect(Object got, Object wanted) {
        if (!got.equals(wanted)) throw new AssertionError(got + " instead of " + wanted);
    }
}
