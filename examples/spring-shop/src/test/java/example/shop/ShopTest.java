package example.shop;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.nimbusds.jose.crypto.MACVerifier;
import com.nimbusds.jwt.SignedJWT;
import java.nio.charset.StandardCharsets;
import java.time.Clock;
import java.time.Instant;
import java.time.ZoneOffset;
import java.util.List;
import org.junit.jupiter.api.Test;

class ShopTest {
  private static final String SECRET = "a-secret-of-at-least-thirty-two-bytes";
  private static final Instant NOW = Instant.parse("2026-12-01T01:00:00Z");

  @Test
  void tokenSaysWhoAndForHowLong() throws Exception {
    var tokens = new MemberTokens(SECRET, Clock.fixed(NOW, ZoneOffset.UTC));
    var token = SignedJWT.parse(tokens.tokenFor("member-0001", "member-0001@shop.example", "ko"));
    assertTrue(token.verify(new MACVerifier(SECRET.getBytes(StandardCharsets.UTF_8))));
    assertEquals("member-0001", token.getJWTClaimsSet().getSubject());
    assertEquals(List.of("doorbuster"), token.getJWTClaimsSet().getAudience());
    assertEquals(NOW.plusSeconds(600), token.getJWTClaimsSet().getExpirationTime().toInstant());
  }

  @Test
  void shortSecretIsRefused() {
    assertThrows(IllegalArgumentException.class, () -> new MemberTokens("short", Clock.systemUTC()));
  }

  /** The example of the Standard Webhooks specification. */
  @Test
  void webhookSignature() {
    var webhooks = new WebhookSignature("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    var body = "{\"test\": 2432232314}".getBytes(StandardCharsets.UTF_8);
    var id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    var signature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    var at = Instant.ofEpochSecond(1614265330);
    assertTrue(webhooks.isGenuine(id, "1614265330", signature, body, at));
    assertTrue(webhooks.isGenuine(id, "1614265330", "v1,other " + signature, body, at.plusSeconds(299)));
    assertFalse(webhooks.isGenuine(id, "1614265330", signature, body, at.plusSeconds(301)));
    assertFalse(webhooks.isGenuine(id, "1614265330", signature, "{}".getBytes(StandardCharsets.UTF_8), at));
    assertFalse(webhooks.isGenuine("msg_other", "1614265330", signature, body, at));
    assertFalse(webhooks.isGenuine(null, null, null, body, at));
  }
}
