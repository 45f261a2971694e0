//! A client of MariaDB that costs little itself: statements as text over a plain socket, by a user without a password.
//!
//! Of the protocol it speaks what the benchmark needs: handshake, `COM_QUERY`, text rows
//! (<https://mariadb.com/docs/server/reference/clientserver-protocol>).

use std::{
    io::{BufReader, Read, Write},
    net::TcpStream,
};

use anyhow::{Context, Result, bail};

/// `CLIENT_LONG_PASSWORD | CONNECT_WITH_DB | PROTOCOL_41 | TRANSACTIONS | SECURE_CONNECTION | PLUGIN_AUTH`
const CAPABILITIES: u32 = 0x1 | 0x8 | 0x200 | 0x2000 | 0x8000 | 0x8_0000;
/// utf8mb4_general_ci
const CHARSET: u8 = 45;
const COM_QUERY: u8 = 3;
/// The greatest payload of one packet.
const PACKET: usize = 0xff_ffff;

/// A row: the values as text, `None` for NULL.
pub(super) type Row = Vec<Option<Vec<u8>>>;

/// A connection.
pub(super) struct Client {
    stream: BufReader<TcpStream>,
    sequence: u8,
}

impl Client {
    /// Connects to 127.0.0.1.
    pub(super) fn connect(port: u16, user: &str, database: &str) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).context("failed to connect to MariaDB")?;
        stream.set_nodelay(true)?;
        let mut client = Self { stream: BufReader::with_capacity(1 << 18, stream), sequence: 0 };
        client.read()?;
        let mut answer = Vec::new();
        answer.extend_from_slice(&CAPABILITIES.to_le_bytes());
        answer.extend_from_slice(&(1u32 << 30).to_le_bytes());
        answer.push(CHARSET);
        answer.extend_from_slice(&[0; 23]);
        for text in [user, "\0", database, "\0mysql_native_password\0"] {
            answer.extend_from_slice(text.as_bytes());
            if text == "\0" {
                // Of the password there are no bytes.
                answer.push(0);
            }
        }
        client.write(&answer)?;
        let reply = client.read()?;
        match reply.first() {
            Some(0) => {}
            // The server wants another method: without a password its answer is empty as well.
            Some(0xfe) => {
                client.write(&[])?;
                done(&client.read()?)?;
            }
            _ => done(&reply)?,
        }
        client.query("SET SESSION time_zone = '+00:00'")?;
        Ok(client)
    }

    /// Runs a statement; answers its rows.
    pub(super) fn query(&mut self, sql: &str) -> Result<Vec<Row>> {
        self.send(sql.as_bytes()).with_context(|| sql.chars().take(200).collect::<String>())
    }

    /// Runs a statement whose text may be no UTF-8.
    pub(super) fn send(&mut self, sql: &[u8]) -> Result<Vec<Row>> {
        self.sequence = 0;
        let mut command = Vec::with_capacity(sql.len() + 1);
        command.push(COM_QUERY);
        command.extend_from_slice(sql);
        self.write(&command)?;
        let first = self.read()?;
        if matches!(first.first(), Some(0 | 0xff) | None) {
            return done(&first).map(|()| Vec::new());
        }
        let columns = Fields(&first).length().flatten().context("no number of columns")?;
        // The columns' names, and the end of them.
        for _ in 0..=columns {
            self.read()?;
        }
        let mut rows = Vec::new();
        loop {
            let packet = self.read()?;
            match packet.first() {
                Some(0xfe) if packet.len() < 9 => return Ok(rows),
                Some(0xff) => done(&packet)?,
                _ => {}
            }
            let mut fields = Fields(&packet);
            rows.push((0..columns).map(|_| fields.text()).collect::<Option<Row>>().context("a row was cut off")?);
        }
    }

    fn read(&mut self) -> Result<Vec<u8>> {
        let mut packet = Vec::new();
        loop {
            let mut head = [0; 4];
            self.stream.read_exact(&mut head).context("MariaDB closed the connection")?;
            let length = usize::from(head[0]) | usize::from(head[1]) << 8 | usize::from(head[2]) << 16;
            self.sequence = head[3].wrapping_add(1);
            let start = packet.len();
            packet.resize(start + length, 0);
            self.stream.read_exact(&mut packet[start..])?;
            if length < PACKET {
                return Ok(packet);
            }
        }
    }

    fn write(&mut self, payload: &[u8]) -> Result<()> {
        let mut rest = payload;
        loop {
            let (piece, after) = rest.split_at(rest.len().min(PACKET));
            let length = (piece.len() as u32).to_le_bytes();
            let stream = self.stream.get_mut();
            stream.write_all(&[length[0], length[1], length[2], self.sequence])?;
            stream.write_all(piece)?;
            self.sequence = self.sequence.wrapping_add(1);
            if piece.len() < PACKET {
                return Ok(());
            }
            rest = after;
        }
    }
}

/// What a packet without rows says.
fn done(packet: &[u8]) -> Result<()> {
    match packet {
        [0, ..] => Ok(()),
        // Number, `#` and five characters of the state, text.
        [0xff, low, high, rest @ ..] => {
            let number = u16::from_le_bytes([*low, *high]);
            bail!("MariaDB refuses ({number}): {}", String::from_utf8_lossy(rest));
        }
        _ => bail!("MariaDB gave no answer that is known here"),
    }
}

/// Values of a packet, one after another.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(taken)
    }

    /// A length-encoded integer; `Some(None)` is NULL, `None` the packet's end.
    fn length(&mut self) -> Option<Option<usize>> {
        let wide = match self.take(1)?[0] {
            0xfb => return Some(None),
            0xfc => 2,
            0xfd => 3,
            0xfe => 8,
            small => return Some(Some(usize::from(small))),
        };
        let mut number = [0; 8];
        number[..wide].copy_from_slice(self.take(wide)?);
        usize::try_from(u64::from_le_bytes(number)).ok().map(Some)
    }

    fn text(&mut self) -> Option<Option<Vec<u8>>> {
        match self.length()? {
            None => Some(None),
            Some(length) => self.take(length).map(|text| Some(text.to_vec())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_a_packet_are_read_up_to_its_end() {
        let mut packet = vec![2, b'a', b'b', 0xfb, 0, 0xfc, 0x2c, 0x01];
        packet.extend(vec![b'x'; 300]);
        packet.extend([5, b'y']);
        let mut fields = Fields(&packet);
        assert_eq!(fields.text(), Some(Some(b"ab".to_vec())));
        assert_eq!((fields.text(), fields.text()), (Some(None), Some(Some(Vec::new()))));
        assert_eq!(fields.text(), Some(Some(vec![b'x'; 300])));
        assert_eq!((fields.text(), fields.text()), (None, None));
    }

    #[test]
    fn a_refusal_is_shown_with_its_number() {
        let error = done(b"\xff\x28\x04#42000You have an error").unwrap_err().to_string();
        assert!(error.contains("1064") && error.contains("You have an error"), "{error}");
        assert!(done(&[0, 0, 0, 2, 0, 0, 0]).is_ok() && done(&[9]).is_err());
    }
}
