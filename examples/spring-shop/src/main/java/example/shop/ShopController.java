package example.shop;

import jakarta.servlet.http.HttpServletRequest;
import java.time.Clock;
import java.time.Instant;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Set;
import org.springframework.beans.factory.annotation.Value;
import org.springframework.http.CacheControl;
import org.springframework.http.MediaType;
import org.springframework.http.ResponseEntity;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.PostMapping;
import org.springframework.web.bind.annotation.RequestBody;
import org.springframework.web.bind.annotation.RequestHeader;
import org.springframework.web.bind.annotation.RequestParam;
import org.springframework.web.bind.annotation.RestController;
import org.springframework.web.util.HtmlUtils;

@RestController
public class ShopController {
  private final MemberTokens tokens;
  private final WebhookSignature webhooks;
  private final String doorbusterUrl;
  private final String campaignId;
  private final String ownUrl;

  /** Ids of messages that were taken. A real shop keeps them in its database. */
  private final Set<String> seen =
      Collections.newSetFromMap(
          Collections.synchronizedMap(
              new LinkedHashMap<String, Boolean>() {
                @Override
                protected boolean removeEldestEntry(Map.Entry<String, Boolean> eldest) {
                  return size() > 100_000;
                }
              }));

  public ShopController(
      @Value("${doorbuster.url}") String doorbusterUrl,
      @Value("${doorbuster.campaign}") String campaignId,
      @Value("${doorbuster.shared-secret}") String sharedSecret,
      @Value("${doorbuster.webhook-secret}") String webhookSecret,
      @Value("${shop.url}") String ownUrl) {
    this.tokens = new MemberTokens(sharedSecret, Clock.systemUTC());
    this.webhooks = new WebhookSignature(webhookSecret);
    this.doorbusterUrl = doorbusterUrl;
    this.campaignId = campaignId;
    this.ownUrl = ownUrl;
  }

  /** The page with the button. A real shop takes the member from its own session; here the request names one. */
  @GetMapping(value = "/event", produces = MediaType.TEXT_HTML_VALUE)
  public ResponseEntity<String> event(@RequestParam(defaultValue = "member-0001") String member) {
    if (!member.matches("member-\\d{4}")) return ResponseEntity.badRequest().body("Unknown member");
    var token = tokens.tokenFor(member, member + "@shop.example", "ko");
    var html =
        """
        <!doctype html><html lang="ko"><meta charset="utf-8"><title>Event</title>
        <form method="post" action="%s/c/%s/hand-off">
          <input type="hidden" name="token" value="%s">
          <input type="hidden" name="returnUrl" value="%s/event">
          <button>To the event</button>
        </form>"""
            .formatted(
                HtmlUtils.htmlEscape(doorbusterUrl),
                HtmlUtils.htmlEscape(campaignId),
                HtmlUtils.htmlEscape(token),
                HtmlUtils.htmlEscape(ownUrl));
    // The page holds a token of one member: no cache may keep it.
    return ResponseEntity.ok().cacheControl(CacheControl.noStore()).body(html);
  }

  /** Where the webhook messenger posts. 2xx says "I have it", so answer only once the message is stored. */
  @PostMapping("/doorbuster-messages")
  public ResponseEntity<Void> message(
      @RequestHeader(name = "webhook-id", required = false) String id,
      @RequestHeader(name = "webhook-timestamp", required = false) String timestamp,
      @RequestHeader(name = "webhook-signature", required = false) String signatures,
      @RequestBody byte[] body,
      HttpServletRequest request) {
    if (!webhooks.isGenuine(id, timestamp, signatures, body, Instant.now())) return ResponseEntity.status(401).build();
    // A message whose id was taken before is a repeat: confirmed again, not sent on again.
    if (seen.add(id)) request.getServletContext().log("message " + id + " taken");
    return ResponseEntity.noContent().build();
  }
}
