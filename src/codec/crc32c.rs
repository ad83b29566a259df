//! CRC-32 with Castagnoli's polynomial, as Prometheus puts it before the frames of a streamed read
//! (RFC 3720, appendix B.4). A byte at a time: what is summed up goes over a network next.

/// The polynomial, its bits reversed.
const POLYNOMIAL: u32 = 0x82f6_3b78;

const TABLE: [u32; 256] = table();

#[allow(clippy::indexing_slicing, reason = "both stay below 256")]
const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0_u32;
    while byte < 256 {
        let mut sum = byte;
        let mut bit = 0;
        while bit < 8 {
            sum = if sum & 1 == 1 {
                sum >> 1 ^ POLYNOMIAL
            } else {
                sum >> 1
            };
            bit += 1;
        }
        table[byte as usize] = sum;
        byte += 1;
    }
    table
}

/// The sum of some bytes.
#[must_use]
#[allow(
    clippy::indexing_slicing,
    reason = "the index is one byte and the table has 256 places"
)]
pub fn crc32c(bytes: &[u8]) -> u32 {
    let sum = bytes.iter().fold(u32::MAX, |sum, byte| {
        let at = (sum ^ u32::from(*byte)) & 0xff;
        sum >> 8 ^ TABLE[at as usize]
    });
    !sum
}

#[cfg(test)]
mod tests {
    use super::crc32c;

    #[test]
    fn the_sums_of_the_specification() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(b""), 0);
    }
}
