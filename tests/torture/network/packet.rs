//! What is to be known of an IPv4 packet with TCP in it (RFC 791, RFC 9293).

/// What TCP carries in this packet; empty for anything else.
pub fn payload(packet: &[u8]) -> &[u8] {
    let find = || {
        let (first, length) = (*packet.first()?, packet.get(2..4)?);
        let (version, header) = (first >> 4, usize::from(first & 15) * 4);
        let is_tcp = *packet.get(9)? == 6;
        let segment = packet.get(header..usize::from(u16::from_be_bytes([length[0], length[1]])))?;
        let offset = usize::from(segment.get(12)? >> 4) * 4;
        if version == 4 && is_tcp { segment.get(offset..) } else { None }
    };
    find().unwrap_or_default()
}
