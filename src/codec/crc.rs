//! CRC-32C (Castagnoli, reflected, as in RFC 3720), sixteen bytes a step by table.
#![allow(
    clippy::indexing_slicing,
    reason = "tables have 256 entries and are indexed by single bytes"
)]

const POLYNOMIAL: u32 = 0x82f6_3b78;

/// Bytes of a step. Each needs a table of 1 KiB; half as many bytes a step take half as long again.
const STEP: usize = 16;

static TABLES: [[u32; 256]; STEP] = tables();

const fn tables() -> [[u32; 256]; STEP] {
    let mut tables = [[0u32; 256]; STEP];
    let (mut at, mut byte) = (0, 0u32);
    while at < 256 {
        let mut crc = byte;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ POLYNOMIAL
            } else {
                crc >> 1
            };
            bit += 1;
        }
        tables[0][at] = crc;
        at += 1;
        byte += 1;
    }
    let mut table = 1;
    while table < STEP {
        let mut at = 0;
        while at < 256 {
            let before = tables[table - 1][at];
            tables[table][at] = (before >> 8) ^ tables[0][(before & 0xff) as usize];
            at += 1;
        }
        table += 1;
    }
    tables
}

/// Continues a checksum over more bytes; start with 0.
#[must_use]
pub fn crc32c(crc: u32, bytes: &[u8]) -> u32 {
    let mut crc = !crc;
    let (steps, rest) = bytes.as_chunks::<STEP>();
    for step in steps {
        // The bytes do not wait for each other, but for the first four, on which the checksum so far lies.
        let mut next = 0;
        for (at, byte) in step.iter().enumerate().skip(4) {
            next ^= TABLES[STEP - 1 - at][usize::from(*byte)];
        }
        let first = u32::from_le_bytes([step[0], step[1], step[2], step[3]]) ^ crc;
        for (at, byte) in first.to_le_bytes().iter().enumerate() {
            next ^= TABLES[STEP - 1 - at][usize::from(*byte)];
        }
        crc = next;
    }
    for byte in rest {
        crc = (crc >> 8) ^ TABLES[0][((crc ^ u32::from(*byte)) & 0xff) as usize];
    }
    !crc
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Would catch a byte that goes to another one's table, and the border between steps and the rest.
        #[test]
        fn steps_are_what_bits_are(
            bytes in proptest::collection::vec(any::<u8>(), 0..70), from: u32,
        ) {
            let bit = |crc: u32| (crc >> 1) ^ (POLYNOMIAL * (crc & 1));
            let byte = |crc: u32, byte: &u8| (0..8).fold(crc ^ u32::from(*byte), |crc, _| bit(crc));
            prop_assert_eq!(crc32c(from, &bytes), !bytes.iter().fold(!from, byte));
        }
    }

    #[test]
    fn the_vectors_of_rfc_3720_hold() {
        assert_eq!(crc32c(0, b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(0, &[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(0, &[0xff; 32]), 0x62a8_ab43);
        let rising: Vec<u8> = (0..32).collect();
        assert_eq!(crc32c(0, &rising), 0x46dd_794e);
        assert_eq!(crc32c(crc32c(0, b"1234"), b"56789"), 0xe306_9283);
    }
}
