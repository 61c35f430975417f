// SQLite behind Result: one connection, prepared statements kept for the connection's life, error codes translated
// once.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>

#include "common/base/result.h"

namespace hone {

// Bytes that are stored as BLOB; plain strings are stored as TEXT.
struct Blob {
  std::string_view bytes;
};

// The current row of a query; columns count from 0. Valid inside the callback only.
class Row {
 public:
  explicit Row(sqlite3_stmt* statement) : statement_(statement) {}
  bool IsNull(int column) const { return sqlite3_column_type(statement_, column) == SQLITE_NULL; }
  int64_t Int(int column) const { return sqlite3_column_int64(statement_, column); }
  uint64_t Unsigned(int column) const { return static_cast<uint64_t>(Int(column)); }
  double Real(int column) const { return sqlite3_column_double(statement_, column); }
  std::string Text(int column) const { return std::string(View(column)); }
  std::string_view View(int column) const;   // Valid in the callback only.

 private:
  sqlite3_stmt* statement_;
};

// One connection in WAL mode with synchronous=FULL. One thread at a time. SQLITE_FULL is kExhausted, a damaged file
// kConfiguration, a broken constraint kBug, everything else kFailed.
class Database {
 public:
  // Creates the file if it is not there.
  static Result<Database> Open(const std::filesystem::path& path);
  // A reader beside the one connection that writes: it changes nothing and never moves the write-ahead log into the
  // database, also not when it is closed. kNotFound if the file is not there.
  static Result<Database> OpenToRead(const std::filesystem::path& path);
  Database(Database&&) noexcept;
  Database& operator=(Database&&) noexcept;
  ~Database();

  // Runs one statement that gives no rows. sql is prepared once and kept, so it should be a literal.
  template <class... Arguments>
  Result<> Run(std::string_view sql, const Arguments&... arguments) {
    return Each(sql, [](const Row&) {}, arguments...);
  }
  // Calls row for each row. The callback must not run the same sql.
  template <class... Arguments>
  Result<> Each(std::string_view sql, const std::function<void(const Row&)>& row, const Arguments&... arguments) {
    TRY_ASSIGN(sqlite3_stmt* statement, Prepare(sql));
    int index = 0;
    (Bind(statement, ++index, arguments), ...);
    return StepAll(statement, row);
  }
  // Several statements at once, unprepared.
  Result<> Script(const std::string& sql);
  // The whole database, as it is at this moment, into a new file that needs no other beside it.
  Result<> CopyTo(const std::filesystem::path& file);

  int64_t LastId() const { return sqlite3_last_insert_rowid(connection_); }
  // Rows changed since the connection was opened.
  int64_t TotalChanges() const { return sqlite3_total_changes64(connection_); }
  // Some failures (a full disk) make SQLite roll the whole transaction back by itself; then this is false.
  bool InTransaction() const { return sqlite3_get_autocommit(connection_) == 0; }
  const std::filesystem::path& path() const { return path_; }

 private:
  Database() = default;
  Result<sqlite3_stmt*> Prepare(std::string_view sql);
  Result<> StepAll(sqlite3_stmt* statement, const std::function<void(const Row&)>& row);
  Error Translate(int code, std::string_view what) const;

  template <class T>
  void Bind(sqlite3_stmt* statement, int index, const T& value) {
    if constexpr (std::is_same_v<T, Blob>) {
      sqlite3_bind_blob64(statement, index, value.bytes.data(), value.bytes.size(), SQLITE_TRANSIENT);
    } else if constexpr (std::is_floating_point_v<T>) {
      sqlite3_bind_double(statement, index, value);
    } else if constexpr (std::is_integral_v<T>) {
      sqlite3_bind_int64(statement, index, static_cast<sqlite3_int64>(value));
    } else if constexpr (std::is_convertible_v<T, std::string_view>) {
      const std::string_view text = value;
      sqlite3_bind_text64(statement, index, text.data(), text.size(), SQLITE_TRANSIENT, SQLITE_UTF8);
    } else {
      if (value) {
        Bind(statement, index, *value);
      } else {
        sqlite3_bind_null(statement, index);
      }
    }
  }

  std::filesystem::path path_;
  sqlite3* connection_ = nullptr;
  std::map<std::string, sqlite3_stmt*, std::less<>> statements_;
};

}  // namespace hone
