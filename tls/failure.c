/*
 * From OpenSSL's reasons to words for logs and metric labels. The words are
 * ours and stable; what has no row is "protocol_error". Each word says who
 * found fault with whom. An alert from the peer has the word of what the peer
 * found, and "alert_" in front where we might have found the same. What we find
 * in a client's certificate begins with "client_certificate_", so "unknown_ca"
 * on a server means that the client does not trust us, on a client that we do
 * not trust the server.
 */
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>

#include "tls/inside.h"

struct word {
	int code;
	const char *text;
};

static const struct word reasons[] = {
    {SSL_R_NO_SHARED_CIPHER, "no_shared_cipher"},
    {SSL_R_NO_CIPHERS_SPECIFIED, "no_shared_cipher"},
    {SSL_R_NO_SUITABLE_KEY_SHARE, "no_shared_group"},
    {SSL_R_NO_SUITABLE_GROUPS, "no_shared_group"},
    {SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM, "no_shared_signature"},
    {SSL_R_NO_SHARED_SIGNATURE_ALGORITHMS, "no_shared_signature"},
    {SSL_R_UNSUPPORTED_PROTOCOL, "unsupported_version"},
    {SSL_R_VERSION_TOO_LOW, "unsupported_version"},
    {SSL_R_UNKNOWN_PROTOCOL, "unsupported_version"},
    {SSL_R_WRONG_SSL_VERSION, "unsupported_version"},
    {SSL_R_INAPPROPRIATE_FALLBACK, "inappropriate_fallback"},
    {SSL_R_NO_APPLICATION_PROTOCOL, "no_application_protocol"},
    {SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC, "bad_record_mac"},
    {SSL_R_DIGEST_CHECK_FAILED, "bad_finished"},
    {SSL_R_BAD_SIGNATURE, "bad_signature"},
    {SSL_R_PACKET_LENGTH_TOO_LONG, "record_overflow"},
    {SSL_R_DATA_LENGTH_TOO_LONG, "record_overflow"},
    {SSL_R_ENCRYPTED_LENGTH_TOO_LONG, "record_overflow"},
    {SSL_R_EXCESSIVE_MESSAGE_SIZE, "record_overflow"},
    {SSL_R_BAD_EXTENSION, "decode_error"},
    {SSL_R_LENGTH_MISMATCH, "decode_error"},
    {SSL_R_BAD_LENGTH, "decode_error"},
    {SSL_R_LENGTH_TOO_SHORT, "decode_error"},
    {SSL_R_UNEXPECTED_MESSAGE, "unexpected_message"},
    {SSL_R_UNEXPECTED_RECORD, "unexpected_message"},
    {SSL_R_BAD_RECORD_TYPE, "unexpected_message"},
    {SSL_R_RECORD_TOO_SMALL, "too_many_empty_records"},
    {SSL_R_TOO_MANY_WARN_ALERTS, "too_many_alerts"},
    {SSL_R_TOO_MANY_KEY_UPDATES, "too_many_key_updates"},
    {SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE, "client_certificate_missing"},
    {ERR_R_MALLOC_FAILURE, "out_of_memory"},
};

/* Could the word be of our own finding too? */
enum twin { TWIN_NONE, TWIN_OF_CLIENTS, TWIN_OF_ALL };

#define ALERT "alert_"

/* RFC 8446 section 6, and the older ones that are still met. */
static const struct {
	int code;
	const char *text; /* behind ALERT */
	enum twin twin;
} alerts[] = {
    {SSL_AD_CLOSE_NOTIFY, ALERT "close_notify", TWIN_NONE},
    {SSL_AD_UNEXPECTED_MESSAGE, ALERT "unexpected_message", TWIN_OF_ALL},
    {SSL_AD_BAD_RECORD_MAC, ALERT "bad_record_mac", TWIN_OF_ALL},
    {SSL_AD_RECORD_OVERFLOW, ALERT "record_overflow", TWIN_OF_ALL},
    {SSL_AD_HANDSHAKE_FAILURE, ALERT "handshake_failure", TWIN_NONE},
    {SSL_AD_BAD_CERTIFICATE, ALERT "bad_certificate", TWIN_OF_CLIENTS},
    {SSL_AD_UNSUPPORTED_CERTIFICATE, ALERT "unsupported_certificate",
        TWIN_OF_CLIENTS},
    {SSL_AD_CERTIFICATE_REVOKED, ALERT "certificate_revoked", TWIN_OF_CLIENTS},
    {SSL_AD_CERTIFICATE_EXPIRED, ALERT "certificate_expired", TWIN_OF_CLIENTS},
    {SSL_AD_CERTIFICATE_UNKNOWN, ALERT "certificate_unknown", TWIN_OF_CLIENTS},
    {SSL_AD_ILLEGAL_PARAMETER, ALERT "illegal_parameter", TWIN_NONE},
    {SSL_AD_UNKNOWN_CA, ALERT "unknown_ca", TWIN_OF_CLIENTS},
    {SSL_AD_ACCESS_DENIED, ALERT "access_denied", TWIN_NONE},
    {SSL_AD_DECODE_ERROR, ALERT "decode_error", TWIN_OF_ALL},
    {SSL_AD_DECRYPT_ERROR, ALERT "decrypt_error", TWIN_NONE},
    {SSL_AD_PROTOCOL_VERSION, ALERT "unsupported_version", TWIN_OF_ALL},
    {SSL_AD_INSUFFICIENT_SECURITY, ALERT "insufficient_security", TWIN_NONE},
    {SSL_AD_INTERNAL_ERROR, ALERT "peer_internal_error", TWIN_NONE},
    {SSL_AD_INAPPROPRIATE_FALLBACK, ALERT "inappropriate_fallback",
        TWIN_OF_ALL},
    {SSL_AD_USER_CANCELLED, ALERT "user_cancelled", TWIN_NONE},
    {SSL_AD_NO_RENEGOTIATION, ALERT "renegotiation", TWIN_NONE},
    {SSL_AD_MISSING_EXTENSION, ALERT "missing_extension", TWIN_NONE},
    {SSL_AD_UNSUPPORTED_EXTENSION, ALERT "unsupported_extension", TWIN_NONE},
    {SSL_AD_UNRECOGNIZED_NAME, ALERT "unrecognized_name", TWIN_OF_ALL},
    {SSL_AD_UNKNOWN_PSK_IDENTITY, ALERT "unknown_psk_identity", TWIN_NONE},
    {SSL_AD_CERTIFICATE_REQUIRED, ALERT "certificate_required",
        TWIN_OF_CLIENTS},
    {SSL_AD_NO_APPLICATION_PROTOCOL, ALERT "no_application_protocol",
        TWIN_OF_ALL},
};

/* Why we do not believe a certificate: a server's, and a client's. */
static const struct {
	int code;
	const char *server, *client;
} verdicts[] = {
    {X509_V_ERR_CERT_HAS_EXPIRED, "certificate_expired",
        "client_certificate_expired"},
    {X509_V_ERR_CERT_NOT_YET_VALID, "certificate_not_yet_valid",
        "client_certificate_not_yet_valid"},
    {X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, "unknown_ca",
        "client_certificate_unknown_ca"},
    {X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, "unknown_ca",
        "client_certificate_unknown_ca"},
    {X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE, "unknown_ca",
        "client_certificate_unknown_ca"},
    {X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN, "unknown_ca",
        "client_certificate_unknown_ca"},
    {X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, "unknown_ca",
        "client_certificate_unknown_ca"},
    {X509_V_ERR_CERT_UNTRUSTED, "unknown_ca", "client_certificate_unknown_ca"},
    {X509_V_ERR_HOSTNAME_MISMATCH, "wrong_host", "client_certificate_bad"},
    {X509_V_ERR_IP_ADDRESS_MISMATCH, "wrong_host", "client_certificate_bad"},
    {X509_V_ERR_CERT_REVOKED, "certificate_revoked",
        "client_certificate_revoked"},
    {X509_V_ERR_INVALID_PURPOSE, "wrong_purpose",
        "client_certificate_wrong_purpose"},
    {X509_V_ERR_CERT_SIGNATURE_FAILURE, "bad_signature",
        "client_certificate_bad_signature"},
};

static const char *
word_of(const struct word *words, size_t n, int code, const char *otherwise)
{
	for (size_t i = 0; i < n; i++)
		if (words[i].code == code)
			return words[i].text;
	return otherwise;
}

static const char *
word_of_verdict(const SSL *ssl)
{
	long verdict = SSL_get_verify_result(ssl);
	bool is_client = SSL_is_server(ssl);

	for (size_t i = 0; i < sizeof(verdicts) / sizeof(*verdicts); i++)
		if (verdicts[i].code == verdict)
			return is_client ? verdicts[i].client
			                 : verdicts[i].server;
	return is_client ? "client_certificate_bad" : "bad_certificate";
}

static const char *
word_of_alert(const SSL *ssl, int code)
{
	for (size_t i = 0; i < sizeof(alerts) / sizeof(*alerts); i++) {
		if (alerts[i].code != code)
			continue;
		if (alerts[i].twin == TWIN_OF_ALL ||
		    (alerts[i].twin == TWIN_OF_CLIENTS && !SSL_is_server(ssl)))
			return alerts[i].text;
		return alerts[i].text + sizeof(ALERT) - 1;
	}
	return "unknown_alert";
}

#define WORD_OF(words, code, otherwise)                                        \
	word_of(words, sizeof(words) / sizeof(*(words)), code, otherwise)

/*
 * What the TLS layer makes of it, where it says so: below it a cipher may have
 * failed first, which is not the reason but its cause. Empties the queue.
 */
static unsigned long
telling_error(void)
{
	unsigned long first = ERR_peek_error(), code = first;

	while (code != 0 && ERR_GET_LIB(code) != ERR_LIB_SSL &&
	       ERR_GET_REASON(code) != ERR_R_MALLOC_FAILURE)
		code = ERR_get_error();
	ERR_clear_error();
	return code != 0 ? code : first;
}

const char *
failure_word(const SSL *ssl)
{
	unsigned long code = telling_error();
	int reason = ERR_GET_REASON(code);

	if (code == 0)
		return "protocol_error";
	if (reason == ERR_R_MALLOC_FAILURE)
		return "out_of_memory";
	if (ERR_GET_LIB(code) != ERR_LIB_SSL)
		return "protocol_error";
	if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED)
		return word_of_verdict(ssl);
	if (reason >= SSL_AD_REASON_OFFSET)
		return word_of_alert(ssl, reason - SSL_AD_REASON_OFFSET);
	return WORD_OF(reasons, reason, "protocol_error");
}
