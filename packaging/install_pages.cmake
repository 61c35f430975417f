# At installation: manual pages and completions, written by the program itself.
#   hone_program, man_folder, share_folder: set before this script
set(root "$ENV{DESTDIR}${CMAKE_INSTALL_PREFIX}")

function(write_output file)
  execute_process(COMMAND ${hone_program} ${ARGN} OUTPUT_VARIABLE text RESULT_VARIABLE status)
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "hone ${ARGN}: status ${status}")
  endif()
  # Arguments of file(WRITE) are joined as they are; brackets in lists would be taken apart otherwise.
  file(WRITE "${root}/${file}" "${text}")
  message(STATUS "Installing: ${root}/${file}")
endfunction()

write_output(${man_folder}/man1/hone.1 help --man)
write_output(${man_folder}/man7/hone-exit-codes.7 help --man exit-codes)
execute_process(COMMAND ${hone_program} help --json OUTPUT_VARIABLE help RESULT_VARIABLE status)
string(JSON count LENGTH "${help}" commands)
math(EXPR last "${count} - 1")
foreach(index RANGE ${last})
  string(JSON name GET "${help}" commands ${index} name)
  write_output(${man_folder}/man1/hone-${name}.1 help --man ${name})
endforeach()
write_output(${share_folder}/bash-completion/completions/hone completion bash)
write_output(${share_folder}/zsh/vendor-completions/_hone completion zsh)
write_output(${share_folder}/fish/vendor_completions.d/hone.fish completion fish)
