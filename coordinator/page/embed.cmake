# A text file as a constant of a C++ program.
#
#   cmake -DIN=FILE -DOUT=FILE.cc -DNAME=kName -P embed.cmake        declares `extern const std::string_view kName` of namespace hone
file(READ "${IN}" text)
file(WRITE "${OUT}" "#include <string_view>\n\nnamespace hone {\nextern const std::string_view ${NAME};\n")
file(APPEND "${OUT}" "const std::string_view ${NAME} = R\"~~~(${text})~~~\";\n}  // namespace hone\n")
