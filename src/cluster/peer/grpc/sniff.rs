//! What a connection begins with, looked at without taking it: so that what does not belong here
//! is refused with a reason that helps.

use tokio::net::TcpStream;

/// How every HTTP/2 connection begins (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What it begins with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum First {
    /// HTTP/2, as far as can be seen.
    Http2,
    /// A TLS handshake.
    Tls,
    /// A request of HTTP/1.
    Http1,
    /// Something else.
    Garbage,
    /// Its end.
    Gone,
}

/// Waits for the first bytes.
pub(super) async fn sniff(stream: &TcpStream) -> First {
    let mut bytes = [0; PREFACE.len()];
    match stream.peek(&mut bytes).await {
        Ok(len) => first(bytes.get(..len).unwrap_or_default()),
        Err(_) => First::Gone,
    }
}

fn first(bytes: &[u8]) -> First {
    const METHODS: &[&[u8]] = &[
        b"GET ",
        b"POST ",
        b"PUT ",
        b"HEAD ",
        b"DELETE ",
        b"OPTIONS ",
        b"CONNECT ",
        b"PATCH ",
    ];
    match bytes {
        [] => First::Gone,
        // What is cut short may go on as it should; HTTP/2 will see.
        _ if PREFACE.starts_with(bytes) => First::Http2,
        [0x16, 0x03, ..] | [0x16] => First::Tls,
        _ if METHODS.iter().any(|method| bytes.starts_with(method)) => First::Http1,
        _ => First::Garbage,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginnings_are_told_apart() {
        for (bytes, expected) in [
            (&b""[..], First::Gone),
            (b"P", First::Http2),
            (PREFACE, First::Http2),
            (b"PRI * HTTP/1.1\r\n\r\nSM\r\n\r\n", First::Garbage),
            (b"POST /api/v1/push HTTP/1.1", First::Http1),
            (b"GET / HTTP/1.1\r\n", First::Http1),
            (b"\x16\x03\x01\x02\x00\x01", First::Tls),
            (b"\x16\x04", First::Garbage),
            (b"\0\0\0", First::Garbage),
        ] {
            assert_eq!(first(bytes), expected, "{bytes:?}");
        }
    }
}
