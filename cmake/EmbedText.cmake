# Writes OUTPUT, a C++ source that holds the text of INPUT: std::string_view hone::NAME().
#   cmake -DINPUT=... -DOUTPUT=... -DNAME=... -DHEADER=... -P EmbedText.cmake
file(READ ${INPUT} text)
file(WRITE ${OUTPUT} "// Made from a text file of the source tree.
#include \"${HEADER}\"

namespace hone {

std::string_view ${NAME}() {
  return R\"hone_text(${text})hone_text\";
}

}  // namespace hone
")
