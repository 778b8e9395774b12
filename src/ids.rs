//! Unguessable ids.

/// A request's id, in the vendor's form: `req_` and 24 hexadecimal digits.
pub(crate) fn request_id() -> String {
    format!("req_{}", random_hex::<12>())
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut hex = String::with_capacity(2 * bytes.len());
    for digit in bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]) {
        hex.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
    }
    hex
}

/// `N` random bytes from the kernel as `2 N` hexadecimal digits.
pub(crate) fn random_hex<const N: usize>() -> String {
    hex(&random::<N>())
}

/// `N` random bytes from the kernel.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    if getrandom::fill(&mut bytes).is_err() {
        // Linux fails here only before its generator is seeded, in early boot. A clock is unique
        // enough for names that must not collide; no secret is made by this function.
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let nanos = now.map_or(0, |d| d.as_nanos()).to_le_bytes();
        bytes
            .iter_mut()
            .zip(nanos)
            .for_each(|(byte, nano)| *byte = nano);
    }
    bytes
}
