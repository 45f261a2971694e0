//! Writing one Parquet file of stored rows, a column at a time, so that no more than one column lies in memory twice.
//!
//! Plain Parquet types and no Arrow schema: any reader can read the files. What every file says of itself beyond that
//! stands in its key-value metadata ([`Meta`]), enough to build the manifest again from the files alone.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
    sync::Arc,
};

use arrow_array::{Array, ArrayRef, UInt32Array, cast::AsArray, types::TimestampNanosecondType};
use arrow_schema::{ArrowError, DataType, Field, Schema};
use arrow_select::take::take;
use devmesh_schema::{Signal, TimestampNs, stored};
use parquet::{
    arrow::{
        ArrowSchemaConverter,
        arrow_writer::{ArrowRowGroupWriterFactory, compute_leaves},
    },
    basic::{Compression, Encoding, ZstdLevel},
    file::{
        metadata::{KeyValue, SortingColumn},
        properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder, WriterVersion},
        writer::SerializedFileWriter,
    },
    schema::types::ColumnPath,
};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::{
    beside::Beside,
    bodies::Bodies,
    index::{self, IndexPlace},
    manifest::Meta,
    summary::Summary,
};
use crate::{
    Error,
    columns::{self, Piece, Place, gather},
};

/// Rows of a data page: what a selective query reads of a column at least. Also the range of one filter of the index.
pub(crate) const PAGE_ROWS: usize = 8192;
/// Bytes of a dictionary page.
const DICTIONARY_BYTES: usize = 4 << 20;
/// Values looked at to tell whether a dictionary pays.
const SAMPLE: usize = 2048;
/// Bytes of a value that statistics keep.
const STATISTICS_BYTES: usize = 64;
/// Bytes of the list of attributes without a column: with more, a file does not say which it has.
const REST_KEYS_BYTES: usize = 16 << 10;
/// Columns whose least and greatest values tell nothing.
const WITHOUT_STATISTICS: [&str; 10] = [
    stored::TEMPLATE,
    stored::PARAMS,
    stored::RESOURCE,
    stored::SCOPE,
    stored::SHAPE,
    stored::REST,
    stored::METRIC,
    stored::EVENTS,
    stored::LINKS,
    stored::EXEMPLARS,
];

/// Facts of a file that was written.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    pub(crate) size: u64,
    pub(crate) checksum: u64,
    pub(crate) index: Option<IndexPlace>,
}

/// Rows of all pieces in the order in which a file has them: by service, then by time.
pub(crate) struct Sorted {
    /// Which row of which piece.
    pub(crate) order: Vec<Place>,
    /// Least and greatest time, both inclusive.
    pub(crate) time: (TimestampNs, TimestampNs),
}

/// Sorts the rows of the pieces that `wanted` names by their time, by (service, time); rows that are equal stay in the
/// order in which they came.
pub(crate) fn sort(pieces: &[&dyn Piece], wanted: impl Fn(TimestampNs) -> bool) -> Result<Sorted, Error> {
    let mut keys: Vec<(u32, TimestampNs, u32, u32)> = Vec::new();
    let mut services: Vec<String> = Vec::new();
    let mut of_piece = Vec::with_capacity(pieces.len());
    for piece in pieces {
        let values = services_of(*piece)?;
        services.extend(values.values.iter().cloned());
        of_piece.push(values);
    }
    services.sort_unstable();
    services.dedup();
    let mut range = (TimestampNs::MAX, TimestampNs::MIN);
    for (number, (piece, own)) in pieces.iter().zip(&of_piece).enumerate() {
        let ranks: Vec<u32> = own
            .values
            .iter()
            .map(|value| services.binary_search(value).map_or(0, |rank| u32::try_from(rank).unwrap_or(u32::MAX)))
            .collect();
        let times = piece.column(stored::TIME)?;
        let times = times
            .as_ref()
            .and_then(|times| times.as_primitive_opt::<TimestampNanosecondType>())
            .ok_or_else(|| ArrowError::SchemaError("stored rows lack their time".into()))?;
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        for (row, (time, key)) in times.values().iter().zip(&own.keys).enumerate() {
            if wanted(*time) {
                range = (range.0.min(*time), range.1.max(*time));
                let rank = ranks.get(*key as usize).copied().unwrap_or(0);
                keys.push((rank, *time, number, u32::try_from(row).unwrap_or(u32::MAX)));
            }
        }
    }
    keys.sort_unstable();
    let order = keys.into_iter().map(|(_, _, piece, row)| (piece as usize, row as usize)).collect();
    Ok(Sorted { order, time: range })
}

/// The services of a piece as values and a key a row.
struct Services {
    values: Vec<String>,
    keys: Vec<u32>,
}

fn services_of(piece: &dyn Piece) -> Result<Services, Error> {
    let wrong = || ArrowError::SchemaError("stored rows lack their service".into());
    let column = piece.column(stored::SERVICE)?.ok_or_else(wrong)?;
    if let Some(dictionary) = column.as_dictionary_opt::<arrow_array::types::Int32Type>() {
        let values = dictionary.values().as_string_opt::<i32>().ok_or_else(wrong)?;
        let keys = dictionary.keys().values().iter().map(|key| u32::try_from(*key).unwrap_or_default()).collect();
        return Ok(Services { values: values.iter().map(|v| v.unwrap_or_default().to_owned()).collect(), keys });
    }
    let strings = column.as_string_opt::<i32>().ok_or_else(wrong)?;
    let (mut values, mut keys) = (Vec::<String>::new(), Vec::with_capacity(strings.len()));
    // Files are sorted by service: a value differs from the one before it only where a new run begins.
    for value in strings.iter().map(Option::unwrap_or_default) {
        if values.last().is_none_or(|last| last != value) {
            values.push(value.to_owned());
        }
        keys.push(u32::try_from(values.len() - 1).unwrap_or(u32::MAX));
    }
    Ok(Services { values, keys })
}

/// Writes the rows of `sorted` to `path`, which is made, and syncs it.
pub(crate) fn write(path: &Path, pieces: &[&dyn Piece], sorted: &Sorted, meta: &Meta) -> Result<Written, Error> {
    let file = File::create_new(path).map_err(Error::file("create", path))?;
    let fields = columns::fields(pieces)?;
    let bodies = Bodies::of(pieces, &fields, &sorted.order)?;
    let mut filters = index::Builder::new(sorted.order.len());
    let cut = bodies.as_ref().map(|bodies| filters.add_bodies(bodies)).transpose()?;
    let (made, beside) = cut.map(|cut| (cut.columns, cut.beside)).unwrap_or_default();
    let schema = Arc::new(Schema::new(merged(fields, &made)));
    let properties = Arc::new(properties(pieces, &schema, &made, &sorted.order)?.build());
    let root = ArrowSchemaConverter::new().schema_root("stored").convert(&schema)?.root_schema_ptr();
    let out = Summed { out: BufWriter::with_capacity(1 << 20, file), sum: Xxh3::new(), size: 0 };
    let mut writer = SerializedFileWriter::new(out, root, properties)?;
    let factory = ArrowRowGroupWriterFactory::new(&writer, Arc::clone(&schema));
    let mut column_writers = factory.create_column_writers(0)?.into_iter();
    let mut group = writer.next_row_group()?;
    let mut summed = Counted::default();
    for field in schema.fields() {
        let array = match found(&made, field.name()) {
            Some(array) => array,
            None => {
                let array = gather(pieces, field, &sorted.order)?;
                filters.add(field.name(), &array);
                summed.note(field.name(), &array);
                array
            }
        };
        for leaf in compute_leaves(field, &array)? {
            let Some(mut column) = column_writers.next() else {
                return Err(ArrowError::SchemaError(format!("column {} has no writer", field.name())).into());
            };
            column.write(&leaf)?;
            column.close()?.append_to_row_group(&mut group)?;
        }
    }
    group.close()?;
    let rest_keys = rest_keys(&schema, &filters);
    let summary = match meta.signal {
        Signal::Logs => summed.summary(bodies.as_ref().map(|bodies| (bodies, beside)))?,
        Signal::Traces | Signal::Metrics => Vec::new(),
    };
    let blob = filters.finish(&summary);
    let index = IndexPlace { offset: writer.bytes_written() as u64, length: blob.len() as u64 };
    writer.write_all(&blob).map_err(Error::file("write", path))?;
    let meta = meta.to_text(index, sorted.time);
    writer.append_key_value_metadata(KeyValue::new(Meta::KEY.into(), meta));
    if let Some(keys) = rest_keys {
        writer.append_key_value_metadata(KeyValue::new(stored::REST_KEYS.into(), keys));
    }
    let out = writer.into_inner()?;
    let (size, checksum) = (out.size, out.sum.digest());
    let file = out.out.into_inner().map_err(|error| Error::file("write", path)(error.into_error()))?;
    file.sync_all().map_err(Error::file("sync", path))?;
    Ok(Written { size, checksum, index: Some(index) })
}

/// The columns of a file: those of the rows, but for what is `made` of their bodies.
fn merged(fields: Vec<Field>, made: &[(Field, ArrayRef)]) -> Vec<Field> {
    let is_body = |field: &Field| field.name() == stored::BODY || field.name() == stored::TEMPLATE;
    let mut merged: Vec<Field> = fields.into_iter().filter(|field| made.is_empty() || !is_body(field)).collect();
    merged.extend(made.iter().map(|(field, _)| field.clone()));
    merged.sort_by(|a, b| a.name().cmp(b.name()));
    merged
}

fn found(made: &[(Field, ArrayRef)], name: &str) -> Option<ArrayRef> {
    made.iter().find(|(field, _)| field.name() == name).map(|(_, array)| Arc::clone(array))
}

/// The columns that the summary of a file is made of.
#[derive(Default)]
struct Counted {
    service: Option<ArrayRef>,
    level: Option<ArrayRef>,
    time: Option<ArrayRef>,
}

impl Counted {
    fn note(&mut self, name: &str, array: &ArrayRef) {
        let column = match name {
            stored::SERVICE => &mut self.service,
            stored::LEVEL => &mut self.level,
            stored::TIME => &mut self.time,
            _ => return,
        };
        *column = Some(Arc::clone(array));
    }

    /// The bytes of the summary; none where a column is missing.
    fn summary(&self, bodies: Option<(&Bodies, Vec<Beside>)>) -> Result<Vec<u8>, Error> {
        match (&self.service, &self.level, &self.time) {
            (Some(service), Some(level), Some(time)) => Summary::of(bodies, service, level, time)?.encode(),
            _ => Ok(Vec::new()),
        }
    }
}

/// The keys of the attributes in [`stored::REST`] as a JSON list, where the file has such and they are few.
fn rest_keys(schema: &Schema, filters: &index::Builder) -> Option<String> {
    schema.index_of(stored::REST).ok()?;
    serde_json::to_string(filters.rest_keys()?).ok().filter(|keys| keys.len() <= REST_KEYS_BYTES)
}

/// How each column is written.
fn properties(
    pieces: &[&dyn Piece],
    schema: &Schema,
    made: &[(Field, ArrayRef)],
    order: &[Place],
) -> Result<WriterPropertiesBuilder, Error> {
    let sorting = [stored::SERVICE, stored::TIME].into_iter().filter_map(|name| {
        let (at, _) = schema.column_with_name(name)?;
        Some(SortingColumn { column_idx: i32::try_from(at).ok()?, descending: false, nulls_first: false })
    });
    let leaves_match = schema.fields().iter().all(|field| !field.data_type().is_nested());
    let mut properties = WriterProperties::builder()
        .set_created_by(concat!("devmesh ", env!("CARGO_PKG_VERSION")).into())
        // The first version has no dictionaries for columns of fixed width: session ids are such.
        .set_writer_version(WriterVersion::PARQUET_2_0)
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .set_max_row_group_row_count(None)
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_dictionary_page_size_limit(DICTIONARY_BYTES)
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_statistics_truncate_length(Some(STATISTICS_BYTES))
        .set_column_index_truncate_length(Some(STATISTICS_BYTES))
        // The columns of the sort are named by leaf; with nested columns before them the numbers would be others.
        .set_sorting_columns(leaves_match.then(|| sorting.collect()));
    for field in schema.fields() {
        let path = ColumnPath::new(vec![field.name().clone()]);
        if WITHOUT_STATISTICS.contains(&field.name().as_str()) {
            properties = properties.set_column_statistics_enabled(path.clone(), EnabledStatistics::None);
        }
        if field.data_type().is_nested() {
            continue;
        }
        let dictionary = match found(made, field.name()) {
            Some(array) => repeats(field, &array)?,
            None => dictionary_pays(pieces, field, order)?,
        };
        properties = properties.set_column_dictionary_enabled(path.clone(), dictionary);
        if !dictionary {
            properties = plain(properties, path, field.data_type());
        }
    }
    Ok(properties)
}

/// A column without a dictionary.
fn plain(properties: WriterPropertiesBuilder, path: ColumnPath, data_type: &DataType) -> WriterPropertiesBuilder {
    match data_type {
        DataType::Timestamp(..) | DataType::Int64 | DataType::UInt64 | DataType::Int32 | DataType::UInt32 => {
            properties.set_column_encoding(path, Encoding::DELTA_BINARY_PACKED)
        }
        DataType::Utf8 | DataType::Binary => properties.set_column_encoding(path, Encoding::DELTA_LENGTH_BYTE_ARRAY),
        // Random bytes: nothing to compress, and no range to skip by.
        DataType::FixedSizeBinary(_) => properties
            .set_column_compression(path.clone(), Compression::UNCOMPRESSED)
            .set_column_statistics_enabled(path, EnabledStatistics::None),
        _ => properties,
    }
}

/// Whether values repeat often enough for a dictionary, told by a sample spread over all rows.
///
/// Of `n` values drawn from `d` equally frequent ones, `d (1 - e^(-n/d))` are distinct. A dictionary pays where that
/// leaves less than a quarter as many values as rows.
fn dictionary_pays(pieces: &[&dyn Piece], field: &Field, order: &[Place]) -> Result<bool, Error> {
    match field.data_type() {
        DataType::Dictionary(..) => return Ok(true),
        DataType::Timestamp(..) | DataType::Boolean | DataType::Float64 => return Ok(false),
        _ => {}
    }
    let told: Vec<bool> = pieces.iter().filter_map(|piece| piece.dictionary_pays(field.name())).collect();
    if !told.is_empty() {
        return Ok(told.iter().filter(|pays| **pays).count() * 2 > told.len());
    }
    let step = (order.len() / SAMPLE).max(1);
    let places: Vec<Place> = order.iter().copied().step_by(step).collect();
    Ok(few_distinct(&gather(pieces, field, &places)?, order.len()))
}

/// The same of a column that is there as a whole.
fn repeats(field: &Field, array: &ArrayRef) -> Result<bool, Error> {
    if matches!(field.data_type(), DataType::Dictionary(..)) {
        return Ok(true);
    }
    let step = (array.len() / SAMPLE).max(1);
    let rows: UInt32Array = (0..array.len()).step_by(step).map(|row| u32::try_from(row).ok()).collect();
    Ok(few_distinct(&take(array, &rows, None)?, array.len()))
}

/// Whether a sample of so many rows tells that less than a quarter of them are distinct.
fn few_distinct(sample: &ArrayRef, rows: usize) -> bool {
    let mut hashes = hashes(sample);
    let present = hashes.len();
    if present < 16 {
        return true;
    }
    hashes.sort_unstable();
    hashes.dedup();
    // With d a quarter of the rows that are there, so many of the sample would be distinct.
    let rows = rows as f64 * present as f64 / sample.len() as f64;
    let (n, d) = (present as f64, rows / 4.0);
    (hashes.len() as f64) < d * (1.0 - (-n / d).exp())
}

/// A hash of each value that is not NULL.
fn hashes(array: &ArrayRef) -> Vec<u64> {
    let rows = 0..array.len();
    match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().iter().flatten().map(|v| xxh3_64(v.as_bytes())).collect(),
        DataType::Binary => array.as_binary::<i32>().iter().flatten().map(xxh3_64).collect(),
        DataType::FixedSizeBinary(_) => array.as_fixed_size_binary().iter().flatten().map(xxh3_64).collect(),
        data_type => {
            let Some(width) = data_type.primitive_width() else { return Vec::new() };
            let data = array.to_data();
            let Some(buffer) = data.buffers().first() else { return Vec::new() };
            let bytes = &buffer[data.offset() * width..];
            rows.filter(|row| array.is_valid(*row)).map(|row| xxh3_64(&bytes[row * width..][..width])).collect()
        }
    }
}

/// Counts and sums what passes.
struct Summed<W> {
    out: W,
    sum: Xxh3,
    size: u64,
}

impl<W: Write> Write for Summed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.sum.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
