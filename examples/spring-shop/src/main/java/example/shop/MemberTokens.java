package example.shop;

import com.nimbusds.jose.JOSEException;
import com.nimbusds.jose.JWSAlgorithm;
import com.nimbusds.jose.JWSHeader;
import com.nimbusds.jose.JWSSigner;
import com.nimbusds.jose.crypto.MACSigner;
import com.nimbusds.jwt.JWTClaimsSet;
import com.nimbusds.jwt.SignedJWT;
import java.nio.charset.StandardCharsets;
import java.time.Clock;
import java.time.Duration;
import java.util.Date;
import java.util.UUID;

/** Says who a member is, to Doorbuster: a JWT (HS256) under the secret that both sides share, made when the member goes to the event. */
public class MemberTokens {
  private static final Duration LIFETIME = Duration.ofMinutes(10);

  private final JWSSigner signer;
  private final Clock clock;

  /** The text of the secret is the key, byte for byte: it is not decoded. At least 32 bytes. */
  public MemberTokens(String sharedSecret, Clock clock) {
    try {
      this.signer = new MACSigner(sharedSecret.getBytes(StandardCharsets.UTF_8));
    } catch (JOSEException e) {
      throw new IllegalArgumentException("The shared secret needs at least 32 bytes.", e);
    }
    this.clock = clock;
  }

  /** `memberId` is the shop's own id of the signed-in member, the same one that was imported. */
  public String tokenFor(String memberId, String email, String locale) {
    var now = clock.instant();
    var claims =
        new JWTClaimsSet.Builder()
            .subject(memberId)
            .audience("doorbuster")
            .issueTime(Date.from(now))
            .expirationTime(Date.from(now.plus(LIFETIME)))
            .jwtID(UUID.randomUUID().toString())
            .claim("email", email)
            .claim("locale", locale)
            .build();
    var token = new SignedJWT(new JWSHeader(JWSAlgorithm.HS256), claims);
    try {
      token.sign(signer);
    } catch (JOSEException e) {
      throw new IllegalStateException("The member token cannot be signed.", e);
    }
    return token.serialize();
  }
}
