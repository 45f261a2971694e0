-- Tables of devmesh in MariaDB 10.6 and later.
--
-- log_events, metric_events and spans have a row a record, for people, for other programs, and for aggregates. What their
-- columns cannot hold stands in devmesh_chunks: the records of one INSERT, whole, as they are in memory. The ids of a
-- chunk's rows are those from first_id to last_id. A row whose id lies in no chunk was written by another program.

CREATE TABLE IF NOT EXISTS log_events (id BIGINT AUTO_INCREMENT PRIMARY KEY, timestamp DATETIME(6) NOT NULL,
  source VARCHAR(255) NOT NULL, service VARCHAR(255) NOT NULL, host VARCHAR(255) NOT NULL,
  level ENUM('DEBUG','INFO','WARN','WARNING','ERROR','CRITICAL','FATAL') NOT NULL,
  trace_id VARCHAR(64), span_id VARCHAR(32), event_type VARCHAR(100), error_code VARCHAR(50),
  message TEXT NOT NULL, meta_json JSON,
  INDEX idx_timestamp (timestamp), INDEX idx_service (service), INDEX idx_host (host), INDEX idx_level (level),
  INDEX idx_service_timestamp (service, timestamp), INDEX idx_host_timestamp (host, timestamp),
  INDEX idx_trace_id (trace_id)) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;

CREATE TABLE IF NOT EXISTS metric_events (id BIGINT AUTO_INCREMENT PRIMARY KEY, timestamp DATETIME(6) NOT NULL,
  source VARCHAR(255) NOT NULL, service VARCHAR(255) NOT NULL, host VARCHAR(255) NOT NULL,
  metric_name VARCHAR(255) NOT NULL, metric_type VARCHAR(50) NOT NULL, value DOUBLE, unit VARCHAR(50), labels_json JSON,
  INDEX idx_timestamp (timestamp), INDEX idx_metric_name_timestamp (metric_name, timestamp),
  INDEX idx_service_timestamp (service, timestamp), INDEX idx_host_timestamp (host, timestamp))
  ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;

-- Written by devmesh alone. time_ns: ns since 1970, UTC; end = time_ns + duration_ns. Texts compare byte by byte.
CREATE TABLE IF NOT EXISTS spans (id BIGINT AUTO_INCREMENT PRIMARY KEY, time_ns BIGINT NOT NULL, duration_ns BIGINT NOT NULL,
  ingest_path VARCHAR(16) NOT NULL, service VARCHAR(255) NOT NULL, host VARCHAR(255) NOT NULL, name VARCHAR(255) NOT NULL,
  kind VARCHAR(16) NOT NULL, status_code VARCHAR(16) NOT NULL, status_message TEXT,
  trace_id CHAR(32) CHARACTER SET ascii COLLATE ascii_nopad_bin NOT NULL,
  span_id CHAR(16) CHARACTER SET ascii COLLATE ascii_nopad_bin NOT NULL,
  parent_span_id CHAR(16) CHARACTER SET ascii COLLATE ascii_nopad_bin,
  attributes JSON NOT NULL,
  time DATETIME(6) AS (TIMESTAMPADD(MICROSECOND, FLOOR(time_ns / 1000), TIMESTAMP'1970-01-01 00:00:00')) VIRTUAL,
  INDEX idx_time (time_ns), INDEX idx_service_time (service, time_ns), INDEX idx_trace_id (trace_id))
  ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin;

-- What of a log came as one block. done: all of it is here; until then no query sees any of it.
CREATE TABLE IF NOT EXISTS devmesh_blocks (
  table_name VARCHAR(16) NOT NULL, writer VARCHAR(64) NOT NULL, last BIGINT UNSIGNED NOT NULL, done BOOLEAN NOT NULL,
  PRIMARY KEY (table_name, writer, last), INDEX idx_done (table_name, done))
  ENGINE=InnoDB DEFAULT CHARSET=ascii COLLATE=ascii_bin;

-- The records of one INSERT, whole. min_time, max_time: ns since 1970. cut: bits for the columns of the table in which
-- some row does not hold the whole truth. data: a byte for the format (1), and an Arrow IPC stream, compressed by zstd; where
-- it is too long for one packet it goes on in so many pieces.
CREATE TABLE IF NOT EXISTS devmesh_chunks (
  table_name VARCHAR(16) NOT NULL, writer VARCHAR(64) NOT NULL, last BIGINT UNSIGNED NOT NULL, first_row INT UNSIGNED NOT NULL,
  row_count INT UNSIGNED NOT NULL, first_id BIGINT NOT NULL, last_id BIGINT NOT NULL,
  min_time BIGINT NOT NULL, max_time BIGINT NOT NULL, cut INT UNSIGNED NOT NULL, pieces INT UNSIGNED NOT NULL,
  data LONGBLOB NOT NULL,
  PRIMARY KEY (table_name, writer, last, first_row), INDEX idx_id (table_name, first_id, last_id),
  INDEX idx_time (table_name, max_time, min_time), INDEX idx_cut (table_name, cut))
  ENGINE=InnoDB DEFAULT CHARSET=ascii COLLATE=ascii_bin;

CREATE TABLE IF NOT EXISTS devmesh_pieces (
  table_name VARCHAR(16) NOT NULL, writer VARCHAR(64) NOT NULL, last BIGINT UNSIGNED NOT NULL, first_row INT UNSIGNED NOT NULL,
  piece INT UNSIGNED NOT NULL, data LONGBLOB NOT NULL,
  PRIMARY KEY (table_name, writer, last, first_row, piece)) ENGINE=InnoDB DEFAULT CHARSET=ascii COLLATE=ascii_bin;
