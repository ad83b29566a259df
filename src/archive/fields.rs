//! What the objects of ours have in common: fixed pieces, one after the other; around them a magic
//! number and a format, and the BLAKE3 of all that stands before.

/// Takes fixed pieces from the front of a slice.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

/// How an object begins: its magic number and its format.
pub(super) struct Opening {
    pub(super) magic: &'static [u8; 8],
    /// The format that this version writes, or the newest of them.
    pub(super) format: u8,
    /// What it is, for whoever reads that it is none.
    pub(super) what: &'static str,
}

impl Opening {
    /// Bytes of opening and digest.
    pub(super) const BYTES: usize = 8 + 1 + 32;

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        self.write_format(self.format, out);
    }

    pub(super) fn write_format(&self, format: u8, out: &mut Vec<u8>) {
        out.extend_from_slice(self.magic);
        out.push(format);
    }

    /// What stands between the opening and the digest. The text says what is wrong: a newer format is
    /// told from damage.
    pub(super) fn read<'a>(&self, bytes: &'a [u8]) -> Result<Fields<'a>, String> {
        let (_, fields) = self.read_since(self.format, bytes)?;
        Ok(fields)
    }

    /// The same of something of which older formats are read as well, from one on; with the format.
    pub(super) fn read_since<'a>(
        &self,
        oldest: u8,
        bytes: &'a [u8],
    ) -> Result<(u8, Fields<'a>), String> {
        let (body, digest) = bytes.split_last_chunk::<32>().ok_or("it is cut short")?;
        let mut fields = Fields(body);
        if fields.take::<8>()? != *self.magic {
            return Err(format!("it is no {}", self.what));
        }
        let [format] = fields.take()?;
        if !(oldest..self.format).contains(&format) {
            check_format(format.into(), self.format.into())?;
        }
        if blake3::hash(body).as_bytes() != digest {
            return Err("its digest is not that of its bytes".to_owned());
        }
        Ok((format, fields))
    }
}

/// Whether this version reads an object of a format.
pub(super) fn check_format(format: u32, known: u32) -> Result<(), String> {
    if format == known {
        return Ok(());
    }
    Err(format!(
        "it is of format {format}, and this version reads {known}: use a newer one"
    ))
}

/// Ends an object with the digest of what stands before.
pub(super) fn seal(out: &mut Vec<u8>) {
    let digest = blake3::hash(out);
    out.extend_from_slice(digest.as_bytes());
}

impl Fields<'_> {
    pub(super) fn take<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (piece, rest) = self.0.split_first_chunk::<N>().ok_or("it is cut short")?;
        self.0 = rest;
        Ok(*piece)
    }
}
