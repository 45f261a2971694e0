//! Parameters of prepared statements, written into the query as literals.
//!
//! A literal is a number only where the client declared the parameter as one and its text is one; everything else is a
//! quoted string, so that nothing in a value can become SQL.

use pgwire::{
    api::{Type, portal::Portal, results::FieldFormat},
    error::PgWireResult,
};

use super::{error::wrong, scan};

/// A statement as a client prepared it.
#[derive(Clone, Debug)]
pub(super) struct Statement {
    /// Its text, without a semicolon.
    pub(super) sql: String,
    /// The type of each parameter.
    pub(super) types: Vec<Type>,
}

impl Statement {
    /// With the types that the client declared; the others are text.
    pub(super) fn new(sql: &str, declared: &[Option<Type>]) -> PgWireResult<Self> {
        let count = scan::parameters(sql).into_iter().map(|(_, number)| number).max().unwrap_or(0);
        if count > 1000 {
            return Err(wrong("54000", "a statement has at most 1000 parameters"));
        }
        let known = |index: usize| declared.get(index).cloned().flatten().filter(|kind| *kind != Type::UNKNOWN);
        let types = (0..count).map(|index| known(index).unwrap_or(Type::TEXT)).collect();
        Ok(Self { sql: sql.to_owned(), types })
    }

    /// The text with NULL for every parameter, to find out the answer's columns.
    pub(super) fn described(&self) -> PgWireResult<String> {
        let literals: Vec<String> = self.types.iter().map(example).collect();
        self.written(&literals)
    }

    /// The text with the values of a portal.
    pub(super) fn bound(&self, portal: &Portal<Statement>) -> PgWireResult<String> {
        if portal.parameters.len() != self.types.len() {
            let text =
                format!("{} parameters were given, the statement has {}", portal.parameters.len(), self.types.len());
            return Err(wrong("08P01", text));
        }
        let literals: PgWireResult<Vec<String>> = self
            .types
            .iter()
            .zip(&portal.parameters)
            .enumerate()
            .map(|(index, (kind, value))| {
                let Some(value) = value else { return Ok("NULL".to_owned()) };
                let binary = match &portal.parameter_format {
                    pgwire::api::portal::Format::Individual(codes) => {
                        codes.get(index).is_some_and(|code| FieldFormat::from(*code) == FieldFormat::Binary)
                    }
                    format => format.is_binary(0),
                };
                if binary { from_binary(kind, value) } else { from_text(kind, value) }
            })
            .collect();
        self.written(&literals?)
    }

    fn written(&self, literals: &[String]) -> PgWireResult<String> {
        let mut out = String::with_capacity(self.sql.len());
        let mut at = 0;
        for (range, number) in scan::parameters(&self.sql) {
            let missing = || wrong("42P02", format!("there is no parameter ${number}"));
            let literal = number.checked_sub(1).and_then(|index| literals.get(index)).ok_or_else(missing)?;
            out.push_str(self.sql.get(at..range.start).unwrap_or_default());
            out.push_str(literal);
            at = range.end;
        }
        out.push_str(self.sql.get(at..).unwrap_or_default());
        Ok(out)
    }
}

/// A value of the type, for a plan that is never run.
fn example(kind: &Type) -> String {
    match *kind {
        Type::INT2 | Type::INT4 | Type::INT8 | Type::NUMERIC => "0".to_owned(),
        Type::FLOAT4 | Type::FLOAT8 => "0.5".to_owned(),
        Type::BOOL => "TRUE".to_owned(),
        Type::TIMESTAMP | Type::TIMESTAMPTZ => "TIMESTAMP '2000-01-01T00:00:00Z'".to_owned(),
        _ => "''".to_owned(),
    }
}

fn string(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn utf8(value: &[u8]) -> PgWireResult<&str> {
    std::str::from_utf8(value).map_err(|_error| wrong("22021", "a parameter is no UTF-8"))
}

fn from_text(kind: &Type, value: &[u8]) -> PgWireResult<String> {
    let text = utf8(value)?;
    let number = matches!(*kind, Type::INT2 | Type::INT4 | Type::INT8 | Type::NUMERIC | Type::FLOAT4 | Type::FLOAT8);
    let looks =
        text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte)) && text.parse::<f64>().is_ok();
    match *kind {
        _ if number && looks => Ok(format!("({text})")),
        _ if number => Err(wrong("22P02", format!("parameter `{text}` is no number"))),
        Type::BOOL => match text.to_ascii_lowercase().as_str() {
            "t" | "true" | "on" | "yes" | "1" => Ok("TRUE".to_owned()),
            "f" | "false" | "off" | "no" | "0" => Ok("FALSE".to_owned()),
            _ => Err(wrong("22P02", format!("parameter `{text}` is no boolean"))),
        },
        Type::TIMESTAMP | Type::TIMESTAMPTZ => Ok(format!("CAST({} AS TIMESTAMP)", string(text))),
        _ => Ok(string(text)),
    }
}

fn from_binary(kind: &Type, value: &[u8]) -> PgWireResult<String> {
    let bad = || wrong("22P03", format!("a binary parameter of type {kind} has {} bytes", value.len()));
    Ok(match *kind {
        Type::BOOL => if value == [0] { "FALSE" } else { "TRUE" }.to_owned(),
        Type::INT2 => format!("({})", i16::from_be_bytes(value.try_into().map_err(|_error| bad())?)),
        Type::INT4 => format!("({})", i32::from_be_bytes(value.try_into().map_err(|_error| bad())?)),
        Type::INT8 => format!("({})", i64::from_be_bytes(value.try_into().map_err(|_error| bad())?)),
        Type::FLOAT4 => double(f64::from(f32::from_be_bytes(value.try_into().map_err(|_error| bad())?))),
        Type::FLOAT8 => double(f64::from_be_bytes(value.try_into().map_err(|_error| bad())?)),
        Type::TIMESTAMP | Type::TIMESTAMPTZ => {
            let micros = i64::from_be_bytes(value.try_into().map_err(|_error| bad())?);
            let unix = micros.checked_add(super::encode::EPOCH_MICROS).ok_or_else(bad)?;
            let time = jiff::Timestamp::from_microsecond(unix).map_err(|_error| bad())?;
            format!("CAST('{time}' AS TIMESTAMP)")
        }
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::JSON | Type::UNKNOWN => string(utf8(value)?),
        _ => return Err(wrong("0A000", format!("parameters of type {kind} are taken as text only"))),
    })
}

fn double(value: f64) -> String {
    if value.is_finite() { format!("({value:e})") } else { format!("CAST('{value}' AS DOUBLE)") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_never_becomes_sql() {
        let statement = Statement::new("SELECT $1, '$1', $2", &[None, Some(Type::INT8)]).unwrap();
        assert_eq!(statement.types, [Type::TEXT, Type::INT8]);
        let literals = [from_text(&Type::TEXT, b"'; DROP").unwrap(), from_text(&Type::INT8, b"-5").unwrap()];
        assert_eq!(statement.written(&literals).unwrap(), "SELECT '''; DROP', '$1', (-5)");
        for bad in ["1; DROP", "1 OR 1=1", "nan", "", "0x1"] {
            assert!(from_text(&Type::INT8, bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn binary_parameters_are_read() {
        assert_eq!(from_binary(&Type::INT4, &7i32.to_be_bytes()).unwrap(), "(7)");
        assert_eq!(from_binary(&Type::FLOAT8, &0.25f64.to_be_bytes()).unwrap(), "(2.5e-1)");
        assert_eq!(
            from_binary(&Type::TIMESTAMPTZ, &0i64.to_be_bytes()).unwrap(),
            "CAST('2000-01-01T00:00:00Z' AS TIMESTAMP)"
        );
        assert!(from_binary(&Type::INT4, &[1]).is_err());
        assert!(from_binary(&Type::UUID, &[0; 16]).is_err());
    }
}
