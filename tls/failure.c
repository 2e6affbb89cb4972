/*
 * From OpenSSL's reasons to words for logs and metric labels. The words are
 * ours and stable; what has no row is "protocol_error". An alert from the peer
 * has the word of what the peer found, so "unknown_ca" on a server means that
 * the client does not trust us, on a client that we do not trust the server.
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
    {SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE, "certificate_required"},
    {ERR_R_MALLOC_FAILURE, "out_of_memory"},
};

/* RFC 8446 section 6, and the older ones that are still met. */
static const struct word alerts[] = {
    {SSL_AD_CLOSE_NOTIFY, "close_notify"},
    {SSL_AD_UNEXPECTED_MESSAGE, "unexpected_message"},
    {SSL_AD_BAD_RECORD_MAC, "bad_record_mac"},
    {SSL_AD_RECORD_OVERFLOW, "record_overflow"},
    {SSL_AD_HANDSHAKE_FAILURE, "handshake_failure"},
    {SSL_AD_BAD_CERTIFICATE, "bad_certificate"},
    {SSL_AD_UNSUPPORTED_CERTIFICATE, "unsupported_certificate"},
    {SSL_AD_CERTIFICATE_REVOKED, "certificate_revoked"},
    {SSL_AD_CERTIFICATE_EXPIRED, "certificate_expired"},
    {SSL_AD_CERTIFICATE_UNKNOWN, "certificate_unknown"},
    {SSL_AD_ILLEGAL_PARAMETER, "illegal_parameter"},
    {SSL_AD_UNKNOWN_CA, "unknown_ca"},
    {SSL_AD_ACCESS_DENIED, "access_denied"},
    {SSL_AD_DECODE_ERROR, "decode_error"},
    {SSL_AD_DECRYPT_ERROR, "decrypt_error"},
    {SSL_AD_PROTOCOL_VERSION, "unsupported_version"},
    {SSL_AD_INSUFFICIENT_SECURITY, "insufficient_security"},
    {SSL_AD_INTERNAL_ERROR, "peer_internal_error"},
    {SSL_AD_INAPPROPRIATE_FALLBACK, "inappropriate_fallback"},
    {SSL_AD_USER_CANCELLED, "user_cancelled"},
    {SSL_AD_NO_RENEGOTIATION, "renegotiation"},
    {SSL_AD_MISSING_EXTENSION, "missing_extension"},
    {SSL_AD_UNSUPPORTED_EXTENSION, "unsupported_extension"},
    {SSL_AD_UNRECOGNIZED_NAME, "unrecognized_name"},
    {SSL_AD_UNKNOWN_PSK_IDENTITY, "unknown_psk_identity"},
    {SSL_AD_CERTIFICATE_REQUIRED, "certificate_required"},
    {SSL_AD_NO_APPLICATION_PROTOCOL, "no_application_protocol"},
};

/* Why we do not believe a certificate. */
static const struct word verdicts[] = {
    {X509_V_ERR_CERT_HAS_EXPIRED, "certificate_expired"},
    {X509_V_ERR_CERT_NOT_YET_VALID, "certificate_not_yet_valid"},
    {X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, "unknown_ca"},
    {X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, "unknown_ca"},
    {X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE, "unknown_ca"},
    {X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN, "unknown_ca"},
    {X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, "unknown_ca"},
    {X509_V_ERR_CERT_UNTRUSTED, "unknown_ca"},
    {X509_V_ERR_HOSTNAME_MISMATCH, "wrong_host"},
    {X509_V_ERR_IP_ADDRESS_MISMATCH, "wrong_host"},
    {X509_V_ERR_CERT_REVOKED, "certificate_revoked"},
    {X509_V_ERR_INVALID_PURPOSE, "wrong_purpose"},
    {X509_V_ERR_CERT_SIGNATURE_FAILURE, "bad_signature"},
};

static const char *
word_of(const struct word *words, size_t n, int code, const char *otherwise)
{
	for (size_t i = 0; i < n; i++)
		if (words[i].code == code)
			return words[i].text;
	return otherwise;
}

#define WORD_OF(words, code, otherwise)                                        \
	word_of(words, sizeof(words) / sizeof(*(words)), code, otherwise)

const char *
failure_word(const SSL *ssl)
{
	unsigned long code = ERR_peek_error();
	int reason = ERR_GET_REASON(code);

	ERR_clear_error();
	if (code == 0)
		return "protocol_error";
	if (reason == ERR_R_MALLOC_FAILURE)
		return "out_of_memory";
	if (ERR_GET_LIB(code) != ERR_LIB_SSL)
		return "protocol_error";
	if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED)
		return WORD_OF(verdicts, (int)SSL_get_verify_result(ssl),
		    "bad_certificate");
	if (reason >= SSL_AD_REASON_OFFSET)
		return WORD_OF(
		    alerts, reason - SSL_AD_REASON_OFFSET, "unknown_alert");
	return WORD_OF(reasons, reason, "protocol_error");
}
